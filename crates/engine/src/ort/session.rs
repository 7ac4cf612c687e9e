//! A session over one graph, run with its inputs and outputs bound: values stay on the device that they are on.

use super::api::{Api, c_path, c_string};
use super::session_options::SessionOptions;
use super::value::Value;
use super::weights::Weights;
use foldhash::HashSet;
use gnp_base::{Error, Result};
use gnp_model::onnx::Model;
use ort::sys::{OrtAllocator, OrtIoBinding, OrtMemoryInfo, OrtRunOptions, OrtSession, OrtValue};
use prost::Message as _;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, ptr, slice};

/// A graph, compiled for the device.
pub(super) struct Session {
    api: &'static Api,
    compiled: Arc<Compiled>,
    /// How many of its nodes our own kernels compute.
    pub(super) kernels: usize,
}

/// What a session and the bindings of its inputs and outputs have in common.
struct Compiled {
    api: &'static Api,
    pointer: *mut OrtSession,
    /// What it reads where it lies.
    _weights: Option<Weights>,
}

// SAFETY: any threads may use a session, several at a time.
unsafe impl Send for Compiled {}
// SAFETY: as above.
unsafe impl Sync for Compiled {}

impl Drop for Compiled {
    fn drop(&mut self) {
        // SAFETY: the session is ours, and no binding of it is left.
        unsafe { (self.api.base.ReleaseSession)(self.pointer) }
    }
}

impl Session {
    /// # Safety
    /// `pointer` is a session that nobody else releases.
    unsafe fn from_raw(api: &'static Api, pointer: *mut OrtSession, kernels: usize, weights: Option<Weights>) -> Self {
        Self { api, compiled: Arc::new(Compiled { api, pointer, _weights: weights }), kernels }
    }

    /// The graph in `file`, whose external data is beside it.
    pub(super) fn of_file(api: &'static Api, file: &Path, options: &SessionOptions) -> Result<Self> {
        fs::metadata(file).map_err(|e| Error::io("read the model", file, &e))?;
        let path = c_path(file)?;
        let mut pointer = ptr::null_mut();
        // SAFETY: the environment lives as long as the process, the path is NUL-terminated, the out pointer valid.
        let status =
            unsafe { (api.base.CreateSession)(api.environment(), path.as_ptr(), options.pointer(), &mut pointer) };
        api.check(status).map_err(|e| Error::engine(format!("cannot load the model: {e}")).in_file(file))?;
        // SAFETY: the session is new.
        Ok(unsafe { Self::from_raw(api, pointer, 0, None) })
    }

    /// The graph of `model`, in which `fed` is given with every run and so needs no initializer.
    pub(super) fn of_model(
        api: &'static Api,
        mut model: Model,
        fed: &HashSet<&str>,
        options: &SessionOptions,
    ) -> Result<Self> {
        model.graph.initializer.retain(|tensor| !fed.contains(tensor.name()));
        let path = model.path().to_owned();
        let weights = Weights::take_out(&mut model).map_err(|e| e.in_file(&path))?;
        let options = options.with_files(&weights.names, &weights.maps)?;
        let kernels = options.register_kernels(&model)?;
        Self::created(api, &model.into_proto().encode_to_vec(), &options, kernels, Some(weights))
            .map_err(|e| Error::engine(format!("cannot load the model: {e}")).in_file(path))
    }

    /// The graph in `bytes`, which has no external data.
    pub(super) fn of_bytes(api: &'static Api, bytes: &[u8], options: &SessionOptions) -> Result<Self> {
        Self::created(api, bytes, options, 0, None)
    }

    fn created(
        api: &'static Api,
        bytes: &[u8],
        options: &SessionOptions,
        kernels: usize,
        weights: Option<Weights>,
    ) -> Result<Self> {
        let mut pointer = ptr::null_mut();
        // SAFETY: the environment lives as long as the process, the bytes live through the call, the out pointer is
        // valid.
        api.check(unsafe {
            let (model, length) = (bytes.as_ptr().cast(), bytes.len());
            (api.base.CreateSessionFromArray)(api.environment(), model, length, options.pointer(), &mut pointer)
        })?;
        // SAFETY: the session is new.
        Ok(unsafe { Self::from_raw(api, pointer, kernels, weights) })
    }

    /// What gives `memory` as the session does.
    pub(super) fn allocator(&self, memory: &Memory) -> Result<Allocator> {
        let mut pointer = ptr::null_mut();
        // SAFETY: the session, the description of the memory and the out pointer are valid.
        self.api.check(unsafe { (self.api.base.CreateAllocator)(self.compiled.pointer, memory.0, &mut pointer) })?;
        Ok(Allocator { api: self.api, pointer })
    }

    /// Ends the record of what it computes, and returns the name of its file.
    pub(super) fn end_profile(&self) -> Result<PathBuf> {
        let (api, mut name) = (self.api, ptr::null_mut());
        // SAFETY: the session and the out pointer are valid; what is returned is NUL-terminated, and freed once, by the
        // allocator that it comes from.
        unsafe {
            api.check((api.base.SessionEndProfiling)(self.compiled.pointer, api.allocator, &mut name))?;
            let file = CStr::from_ptr(name).to_string_lossy().into_owned();
            api.check((api.base.AllocatorFree)(api.allocator, name.cast()))?;
            Ok(file.into())
        }
    }

    /// Begins to bind the inputs and outputs of a run.
    pub(super) fn bind(&self) -> Result<Binding> {
        let mut pointer = ptr::null_mut();
        // SAFETY: the session is valid, and outlives the binding, which shares it.
        self.api.check(unsafe { (self.api.base.CreateIoBinding)(self.compiled.pointer, &mut pointer) })?;
        Ok(Binding { api: self.api, pointer, compiled: self.compiled.clone() })
    }
}

/// What is bound to a graph's inputs, and where its outputs are to be: in one run, or in any number of them.
pub(super) struct Binding {
    api: &'static Api,
    pointer: *mut OrtIoBinding,
    compiled: Arc<Compiled>,
}

// SAFETY: ONNX Runtime lets any thread use and release it, one at a time.
unsafe impl Send for Binding {}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: the binding is ours; what is bound has owners of its own.
        unsafe { (self.api.base.ReleaseIoBinding)(self.pointer) }
    }
}

impl Binding {
    /// Has the graph's input `name` be `value`: no copy where it is on the session's device. An input that is left out
    /// has the value of its initializer. `value` must live until the last run is over.
    pub(super) fn input(&mut self, name: &CString, value: &Value<'_>) -> Result<()> {
        let api = self.api;
        // SAFETY: the binding, the name and the value are valid.
        api.check(unsafe { (api.base.BindInput)(self.pointer, name.as_ptr(), value.pointer()) })
    }

    /// Has the graph's output `name` be written to `value`, which must live until the last run is over.
    pub(super) fn output_to(&mut self, name: &CString, value: &Value<'_>) -> Result<()> {
        let api = self.api;
        // SAFETY: the binding, the name and the value are valid.
        api.check(unsafe { (api.base.BindOutput)(self.pointer, name.as_ptr(), value.pointer()) })
    }

    /// Has the graph's output `name` returned in `memory`.
    pub(super) fn output(&mut self, name: &CString, memory: &Memory) -> Result<()> {
        let api = self.api;
        // SAFETY: the binding, the name and the description of the memory are valid.
        api.check(unsafe { (api.base.BindOutputToDevice)(self.pointer, name.as_ptr(), memory.0) })
    }

    /// Runs the graph.
    pub(super) fn run(&mut self, options: Option<&RunOptions>) -> Result<()> {
        let api = self.api;
        let options = options.map_or(ptr::null(), |options| options.pointer.cast_const());
        // SAFETY: session, binding and options are valid; a run may go without options.
        unsafe {
            api.check((api.base.RunWithBinding)(self.compiled.pointer, options, self.pointer))?;
            api.check((api.base.SynchronizeBoundOutputs)(self.pointer))
        }
    }

    /// The values of the outputs that were asked for, in that order, once the graph was run.
    pub(super) fn returned(&self) -> Result<Vec<Value<'static>>> {
        let api = self.api;
        let (mut values, mut count): (*mut *mut OrtValue, usize) = (ptr::null_mut(), 0);
        // SAFETY: the binding and the out pointers are valid. The array that is returned holds `count` new values of
        // ours and is freed once, by the allocator that it comes from.
        unsafe {
            api.check((api.base.GetBoundOutputValues)(self.pointer, api.allocator, &mut values, &mut count))?;
            if values.is_null() {
                return Ok(Vec::new());
            }
            let taken = slice::from_raw_parts(values, count).iter().map(|&v| Value::from_raw(api, v)).collect();
            api.check((api.base.AllocatorFree)(api.allocator, values.cast()))?;
            Ok(taken)
        }
    }
}

/// What a run is told beside its inputs.
pub(super) struct RunOptions {
    api: &'static Api,
    pointer: *mut OrtRunOptions,
}

// SAFETY: ONNX Runtime lets any thread use and release it, one at a time.
unsafe impl Send for RunOptions {}

impl Drop for RunOptions {
    fn drop(&mut self) {
        // SAFETY: the options are ours, and no run is under way.
        unsafe { (self.api.base.ReleaseRunOptions)(self.pointer) }
    }
}

impl RunOptions {
    /// Options with these entries, by their keys.
    pub(super) fn new(api: &'static Api, entries: &[(&CStr, &CStr)]) -> Result<Self> {
        let mut pointer = ptr::null_mut();
        // SAFETY: the out pointer is valid.
        api.check(unsafe { (api.base.CreateRunOptions)(&mut pointer) })?;
        let new = Self { api, pointer };
        for (key, value) in entries {
            // SAFETY: the options and the strings are valid.
            api.check(unsafe { (api.base.AddRunConfigEntry)(new.pointer, key.as_ptr(), value.as_ptr()) })?;
        }
        Ok(new)
    }
}

/// What gives memory of a session's device. It must outlive what is made in that memory; the session need not.
pub(super) struct Allocator {
    api: &'static Api,
    pointer: *mut OrtAllocator,
}

// SAFETY: ONNX Runtime lets any thread use and release it, one at a time.
unsafe impl Send for Allocator {}

impl Drop for Allocator {
    fn drop(&mut self) {
        // SAFETY: the allocator is ours, and nothing is left in its memory.
        unsafe { (self.api.base.ReleaseAllocator)(self.pointer) }
    }
}

impl Allocator {
    pub(super) fn pointer(&self) -> *mut OrtAllocator {
        self.pointer
    }
}

/// The memory of a device; it lives as long as the process.
#[derive(Clone, Copy)]
pub(super) struct Memory(*const OrtMemoryInfo);

impl Memory {
    /// What the processor reads.
    pub(super) fn host(api: &'static Api) -> Self {
        Self(api.cpu)
    }

    /// What `device` computes in.
    pub(super) fn of(api: &'static Api, device: crate::Device) -> Result<Self> {
        use ort::sys::{OrtAllocatorType, OrtMemType};
        let crate::Device::Cuda(number) = device else { return Ok(Self::host(api)) };
        let number = number.try_into().map_err(|_| Error::engine(format!("there is no device {device}")))?;
        let mut pointer = ptr::null_mut();
        let (allocator, kind) = (OrtAllocatorType::OrtDeviceAllocator, OrtMemType::OrtMemTypeDefault);
        // SAFETY: the name is NUL-terminated and the out pointer valid. The description is never released.
        api.check(unsafe { (api.base.CreateMemoryInfo)(c"Cuda".as_ptr(), allocator, number, kind, &mut pointer) })?;
        Ok(Self(pointer))
    }
}

/// Names as ONNX Runtime takes them.
pub(super) fn c_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Vec<CString>> {
    names.into_iter().map(c_string).collect()
}
