//! Values that stay where they are: in memory of the device, for a state and for what a recorded step takes.

use super::api::Api;
use super::copying::copying_model;
use super::session::{Allocator, Memory, Session, c_names};
use super::session_options::SessionOptions;
use super::value::Value;
use crate::{Device, StepModel};
use gnp_base::Result;
use gnp_tensor::{ElementType, Tensor};
use prost::Message as _;
use std::ffi::CString;

/// Two places for a state, where the device computes: a step reads one and writes the other, which is the state from
/// then on if the step is taken.
pub(super) struct StateMemory {
    /// Which of the two is the state.
    current: usize,
    places: [Vec<Value<'static>>; 2],
    /// Copies a state to the device and back; on the processor there is nothing to copy.
    copier: Option<Copier>,
    // Below the values, which it must outlive.
    memory: DeviceMemory,
}

impl StateMemory {
    pub(super) fn new(api: &'static Api, device: Device, model: &StepModel, options: &SessionOptions) -> Result<Self> {
        let (copier, memory) = match device {
            Device::Cpu => (None, DeviceMemory { api, device, allocator: None }),
            Device::Cuda(_) => {
                let copier = Copier::new(api, model, options)?;
                let allocator = Some(copier.session.allocator(&Memory::of(api, device)?)?);
                (Some(copier), DeviceMemory { api, device, allocator })
            }
        };
        let place = || {
            let slots = model.state.iter().map(|slot| {
                // The sizes of a state are all known.
                let shape: Vec<usize> = slot.port.dims.iter().map(|dim| dim.unwrap_or(0)).collect();
                memory.value(slot.port.element, &shape)
            });
            slots.collect::<Result<Vec<_>>>()
        };
        Ok(Self { current: 0, places: [place()?, place()?], copier, memory })
    }

    /// The state.
    pub(super) fn values(&self) -> &[Value<'static>] {
        &self.places[self.current]
    }

    /// Where a step writes the next state.
    pub(super) fn next(&self) -> &[Value<'static>] {
        &self.places[1 - self.current]
    }

    /// Which of the two places is the state: 0 or 1.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// What was written last is the state.
    pub(super) fn go_on(&mut self) {
        self.current = 1 - self.current;
    }

    /// Memory of the device for more than the state.
    pub(super) fn memory(&self) -> &DeviceMemory {
        &self.memory
    }

    /// A copy of the state.
    pub(super) fn read(&self) -> Result<Vec<Tensor>> {
        let values = &self.places[self.current];
        match &self.copier {
            None => values.iter().map(Value::to_tensor).collect(),
            Some(copier) => copier.read(values),
        }
    }

    /// Goes on from `tensors`, in the order of the slots.
    pub(super) fn write(&mut self, tensors: &[&Tensor]) -> Result<()> {
        let values = &self.places[self.current];
        match &self.copier {
            None => values.iter().zip(tensors).try_for_each(|(value, tensor)| value.overwrite(tensor)),
            Some(copier) => copier.write(tensors, values),
        }
    }
}

/// A session that copies a state: the one way that all releases of ONNX Runtime have.
struct Copier {
    api: &'static Api,
    session: Session,
    from: Vec<CString>,
    to: Vec<CString>,
}

impl Copier {
    fn new(api: &'static Api, model: &StepModel, options: &SessionOptions) -> Result<Self> {
        Ok(Self {
            api,
            session: Session::of_bytes(api, &copying_model(model).encode_to_vec(), options)?,
            from: c_names(model.state.iter().map(|slot| slot.port.name.as_str()))?,
            to: c_names(model.state.iter().map(|slot| slot.next.as_str()))?,
        })
    }

    fn read(&self, values: &[Value<'_>]) -> Result<Vec<Tensor>> {
        let mut run = self.session.bind()?;
        for (name, value) in self.from.iter().zip(values) {
            run.input(name, value)?;
        }
        for name in &self.to {
            run.output(name, &Memory::host(self.api))?;
        }
        run.run(None)?;
        run.returned()?.iter().map(Value::to_tensor).collect()
    }

    fn write(&self, tensors: &[&Tensor], values: &[Value<'_>]) -> Result<()> {
        let on_host = tensors.iter().map(|tensor| Value::of(self.api, tensor)).collect::<Result<Vec<_>>>()?;
        let mut run = self.session.bind()?;
        for (name, value) in self.from.iter().zip(&on_host) {
            run.input(name, value)?;
        }
        for (name, value) in self.to.iter().zip(values) {
            run.output_to(name, value)?;
        }
        run.run(None)
    }
}

/// Memory of the device. Values in it must not outlive it.
pub(super) struct DeviceMemory {
    api: &'static Api,
    device: Device,
    /// None on the processor.
    allocator: Option<Allocator>,
}

impl DeviceMemory {
    /// A value whose elements are to be written.
    pub(super) fn value(&self, element: ElementType, shape: &[usize]) -> Result<Value<'static>> {
        let allocator = self.allocator.as_ref().map_or(self.api.allocator, Allocator::pointer);
        // SAFETY: the allocator is valid, and who has the value keeps it.
        unsafe { Value::new_in(self.api, allocator, element, shape) }
    }

    /// Makes the elements of `value`, which is of [`Self::value`], those of `tensor`, of the same type and shape.
    pub(super) fn write(&self, tensor: &Tensor, value: &Value<'_>) -> Result<()> {
        match self.device {
            Device::Cpu => value.overwrite(tensor),
            Device::Cuda(_) => card::write(&tensor.to_le_bytes(), value),
        }
    }

    /// The elements of `value`, which is of [`Self::value`].
    pub(super) fn read(&self, value: &Value<'_>) -> Result<Tensor> {
        match self.device {
            Device::Cpu => value.to_tensor(),
            Device::Cuda(_) => card::read(value),
        }
    }

    /// Whether [`Self::read`] and [`Self::write`] can be called, by this thread.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn enter(&self) -> Result<()> {
        match self.device {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => card::enter(number),
        }
    }
}

#[cfg(feature = "cuda")]
mod card {
    use super::{Result, Tensor, Value};
    use gnp_kernels::cuda::memory;

    pub(super) use memory::enter;

    pub(super) fn write(bytes: &[u8], value: &Value<'_>) -> Result<()> {
        // SAFETY: the value has as many bytes, as it is of the tensor's type and shape, and no run is under way. The
        // thread has entered.
        unsafe { memory::to_device(value.data()?, bytes) }
    }

    pub(super) fn read(value: &Value<'_>) -> Result<Tensor> {
        let (element, shape) = value.port()?;
        let mut bytes = vec![0; shape.iter().product::<usize>() * element.size()];
        // SAFETY: as above.
        unsafe { memory::to_host(&mut bytes, value.data()?)? };
        Tensor::from_le_bytes(element, &shape, &bytes)
    }
}

#[cfg(not(feature = "cuda"))]
mod card {
    use super::{Result, Tensor, Value};
    use gnp_base::Error;

    pub(super) fn enter(_: u32) -> Result<()> {
        Err(Error::unsupported("this program was built without the feature `cuda`"))
    }

    pub(super) fn write(_: &[u8], _: &Value<'_>) -> Result<()> {
        enter(0)
    }

    pub(super) fn read(_: &Value<'_>) -> Result<Tensor> {
        enter(0).map(|()| Tensor::scalar(0.0))
    }
}
