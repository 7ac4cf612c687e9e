//! Tensors as ONNX Runtime's values.

use super::api::Api;
use gnp_base::{Error, Result};
use gnp_tensor::{ElementType, Tensor};
use ndarray::{ArrayD, IxDyn};
use ort::sys::{ONNXTensorElementDataType as Element, OrtAllocator, OrtValue};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::{ptr, slice};

/// A tensor as ONNX Runtime sees it, in memory borrowed for `'a` or in memory of its own.
pub(crate) struct Value<'a> {
    api: &'static Api,
    pointer: *mut OrtValue,
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: ONNX Runtime lets any thread use and release it, one at a time.
unsafe impl Send for Value<'_> {}

impl Drop for Value<'_> {
    fn drop(&mut self) {
        // SAFETY: the value is ours, and this is the last use of it. Borrowed memory stays with its owner.
        unsafe { (self.api.base.ReleaseValue)(self.pointer) }
    }
}

impl<'a> Value<'a> {
    /// `tensor` for reading: in its own memory where that is in row-major order, as a copy otherwise.
    pub(crate) fn of(api: &'static Api, tensor: &'a Tensor) -> Result<Self> {
        match tensor {
            Tensor::F32(array) => Self::of_array(api, array, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
            Tensor::I32(array) => Self::of_array(api, array, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32),
            Tensor::I64(array) => Self::of_array(api, array, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64),
        }
    }

    /// A copy of `tensor`, in memory that ONNX Runtime owns.
    pub(crate) fn copy_of(api: &'static Api, tensor: &Tensor) -> Result<Value<'static>> {
        match tensor {
            Tensor::F32(array) => Self::copy_array(api, array, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
            Tensor::I32(array) => Self::copy_array(api, array, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32),
            Tensor::I64(array) => Self::copy_array(api, array, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64),
        }
    }

    /// A float tensor of rank 0 for reading, in the memory of `number`.
    pub(crate) fn scalar(api: &'static Api, number: &'a f32) -> Result<Self> {
        Self::of_slice(api, slice::from_ref(number), &[], Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
    }

    /// Takes over a value that ONNX Runtime has made, with memory of its own.
    ///
    /// # Safety
    /// `pointer` is a value that nobody else releases.
    pub(crate) unsafe fn from_raw(api: &'static Api, pointer: *mut OrtValue) -> Self {
        Self { api, pointer, memory: PhantomData }
    }

    pub(crate) fn pointer(&self) -> *mut OrtValue {
        self.pointer
    }

    fn of_array<T: Copy>(api: &'static Api, array: &'a ArrayD<T>, element: Element) -> Result<Self> {
        match array.as_slice() {
            Some(elements) => Self::of_slice(api, elements, array.shape(), element),
            None => Self::copy_array(api, array, element),
        }
    }

    fn copy_array<T: Copy>(api: &'static Api, array: &ArrayD<T>, element: Element) -> Result<Value<'static>> {
        // SAFETY: the allocator is ONNX Runtime's own, which lives as long as the process. The elements are `T`s.
        unsafe {
            let value = Value::allocated(api, api.allocator, element, array.shape())?;
            value.write(array)?;
            Ok(value)
        }
    }

    /// A tensor in memory of `allocator`, whose elements are to be written.
    ///
    /// # Safety
    /// The allocator outlives the value.
    pub(super) unsafe fn new_in(
        api: &'static Api,
        allocator: *mut OrtAllocator,
        element: ElementType,
        shape: &[usize],
    ) -> Result<Value<'static>> {
        let element = match element {
            ElementType::F32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
            ElementType::I32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
            ElementType::I64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        };
        // SAFETY: by this function's contract.
        unsafe { Self::allocated(api, allocator, element, shape) }
    }

    /// # Safety
    /// As [`Self::new_in`].
    unsafe fn allocated(
        api: &'static Api,
        allocator: *mut OrtAllocator,
        element: Element,
        shape: &[usize],
    ) -> Result<Value<'static>> {
        let shape = to_i64(shape);
        let mut pointer = ptr::null_mut();
        // SAFETY: the allocator and the out pointer are valid, and `shape` outlives the call.
        unsafe {
            let status =
                (api.base.CreateTensorAsOrtValue)(allocator, shape.as_ptr(), shape.len(), element, &mut pointer);
            api.check(status)?;
            Ok(Value::from_raw(api, pointer))
        }
    }

    /// Makes the elements of a value in the processor's memory those of `tensor`.
    ///
    /// # Errors
    /// Where they are not of one type and shape.
    pub(super) fn overwrite(&self, tensor: &Tensor) -> Result<()> {
        if self.port()? != (tensor.element(), tensor.shape().to_vec()) {
            return Err(Error::internal("a tensor is put where another one belongs"));
        }
        // SAFETY: the elements are of the tensor's type, and as many.
        unsafe {
            match tensor {
                Tensor::F32(array) => self.write(array),
                Tensor::I32(array) => self.write(array),
                Tensor::I64(array) => self.write(array),
            }
        }
    }

    /// # Safety
    /// The value has as many elements as `array`, `T`s, in the processor's memory.
    unsafe fn write<T: Copy>(&self, array: &ArrayD<T>) -> Result<()> {
        let mut to = self.data()?.cast::<T>();
        for &item in array {
            // SAFETY: by this function's contract.
            unsafe {
                to.write(item);
                to = to.add(1);
            }
        }
        Ok(())
    }

    fn of_slice<T>(api: &'static Api, elements: &'a [T], shape: &[usize], element: Element) -> Result<Self> {
        let shape = to_i64(shape);
        let mut pointer = ptr::null_mut();
        // SAFETY: the elements are borrowed for as long as the value lives. It is made for reading: ONNX Runtime writes
        // into no input that is not a parameter.
        unsafe {
            api.check((api.base.CreateTensorWithDataAsOrtValue)(
                api.cpu,
                elements.as_ptr().cast_mut().cast(),
                size_of_val(elements),
                shape.as_ptr(),
                shape.len(),
                element,
                &mut pointer,
            ))?;
            Ok(Self::from_raw(api, pointer))
        }
    }

    /// Where its elements are, in the memory of whatever device.
    pub(super) fn data(&self) -> Result<*mut c_void> {
        let mut data = ptr::null_mut();
        // SAFETY: the value is a valid tensor and the out pointer is valid.
        self.api.check(unsafe { (self.api.base.GetTensorMutableData)(self.pointer, &mut data) })?;
        Ok(data)
    }

    /// A copy of the tensor.
    ///
    /// # Errors
    /// Where its elements are of a type that [`Tensor`] does not have.
    pub(crate) fn to_tensor(&self) -> Result<Tensor> {
        let (element, shape) = self.port()?;
        // SAFETY: the element type is the one that is asked for, in each arm.
        unsafe {
            match element {
                ElementType::F32 => Ok(Tensor::F32(self.copy(&shape)?)),
                ElementType::I32 => Ok(Tensor::I32(self.copy(&shape)?)),
                ElementType::I64 => Ok(Tensor::I64(self.copy(&shape)?)),
            }
        }
    }

    /// Its element type and shape.
    ///
    /// # Errors
    /// Where its elements are of a type that [`Tensor`] does not have.
    pub(super) fn port(&self) -> Result<(ElementType, Vec<usize>)> {
        let (element, shape) = self.element_and_shape()?;
        let element = match element {
            Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT => ElementType::F32,
            Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 => ElementType::I32,
            Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 => ElementType::I64,
            other => {
                return Err(Error::engine(format!(
                    "the graph returns elements of type {}: expected float32, int32 or int64",
                    ort::value::TensorElementType::from(other)
                )));
            }
        };
        Ok((element, shape))
    }

    /// The one element of a tensor of booleans, in the processor's memory.
    pub(super) fn boolean(&self) -> Result<bool> {
        let (element, shape) = self.element_and_shape()?;
        if element != Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL || shape.iter().product::<usize>() != 1 {
            return Err(Error::engine("the graph returns no single boolean where one is expected"));
        }
        // SAFETY: the elements are booleans, of one byte each.
        Ok(unsafe { self.elements::<u8>(&shape) }?[0] != 0)
    }

    /// The elements of a tensor of floats in the processor's memory; none of another.
    pub(super) fn floats(&self) -> Result<Option<&[f32]>> {
        let (element, shape) = self.element_and_shape()?;
        if element != Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT {
            return Ok(None);
        }
        // SAFETY: the elements are floats.
        unsafe { self.elements(&shape) }.map(Some)
    }

    /// # Safety
    /// The elements are `T`s.
    unsafe fn copy<T: Copy>(&self, shape: &[usize]) -> Result<ArrayD<T>> {
        // SAFETY: by this function's contract.
        let elements = unsafe { self.elements::<T>(shape) }?.to_vec();
        ArrayD::from_shape_vec(IxDyn(shape), elements).map_err(|e| Error::internal(format!("a tensor's shape: {e}")))
    }

    /// # Safety
    /// The elements are `T`s.
    unsafe fn elements<T>(&self, shape: &[usize]) -> Result<&[T]> {
        let count = shape.iter().product();
        if count == 0 {
            return Ok(&[]);
        }
        // SAFETY: a tensor's memory holds as many elements as its shape says, of the type that the caller vouches for.
        Ok(unsafe { slice::from_raw_parts(self.data()?.cast::<T>(), count) })
    }

    fn element_and_shape(&self) -> Result<(Element, Vec<usize>)> {
        let base = self.api.base;
        let mut info = ptr::null_mut();
        let mut element = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        let mut rank = 0;
        let mut shape = Vec::new();
        // SAFETY: the out pointers are valid, and the description is released once, after its last use.
        unsafe {
            self.api.check((base.GetTensorTypeAndShape)(self.pointer, &mut info))?;
            let read = (|| {
                self.api.check((base.GetTensorElementType)(info, &mut element))?;
                self.api.check((base.GetDimensionsCount)(info, &mut rank))?;
                shape.resize(rank, 0i64);
                self.api.check((base.GetDimensions)(info, shape.as_mut_ptr(), rank))
            })();
            (base.ReleaseTensorTypeAndShapeInfo)(info);
            read?;
        }
        Ok((element, shape.into_iter().map(|dim| usize::try_from(dim).unwrap_or(0)).collect()))
    }
}

/// A shape as ONNX Runtime wants it. No array is so large that a dimension would not fit.
fn to_i64(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&dim| dim as i64).collect()
}
