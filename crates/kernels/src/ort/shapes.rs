//! The shapes of outputs, where they are known when a model is loaded: ONNX Runtime plans memory by them.
//!
//! It does not tell an input of which it knows nothing from a scalar: both have no axes. So nothing is said of an
//! output where an input seems to have none.

use super::operator::Operator;
use super::status::{caught, check};
use gnp_base::{Error, Result};
use ort_sys::{ONNXTensorElementDataType, OrtApi, OrtCustomOp, OrtOpAttrType, OrtShapeInferContext, OrtStatusPtr};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

/// The size of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Size {
    Known(i64),
    /// The one that the model calls so.
    Named(CString),
}

/// The shapes of a node's inputs, and its attributes.
pub(crate) struct Shapes<'a> {
    api: &'static OrtApi,
    context: &'a OrtShapeInferContext,
}

/// What is not known is left open: a failure is none of the model's.
pub(super) unsafe extern "system" fn infer(op: *const OrtCustomOp, context: *mut OrtShapeInferContext) -> OrtStatusPtr {
    // SAFETY: the operator is ours, and the context lives through this call.
    let (operator, context) = unsafe { (Operator::of(op), context.as_ref()) };
    let shapes = context.map(|context| Shapes { api: operator.api, context });
    if let (Some(shapes), Some(shape)) = (shapes, operator.kind.shape) {
        let _ = caught(|| shape(&shapes).map(|sizes| shapes.set(&sizes)));
    }
    OrtStatusPtr(ptr::null_mut())
}

impl Shapes<'_> {
    /// The shape that all inputs broadcast to, where it is known.
    pub(crate) fn broadcast(&self) -> Option<Vec<Size>> {
        let mut count = 0;
        // SAFETY: the context and the out pointer are valid.
        unsafe { check(self.api, (self.api.ShapeInferContext_GetInputCount)(self.context, &mut count)) }.ok()?;
        let inputs = (0..count).map(|number| self.input(number).ok().filter(|sizes| !sizes.is_empty()));
        broadcast(&inputs.collect::<Option<Vec<_>>>()?)
    }

    /// The shape of an input, where all of it is known.
    pub(crate) fn known(&self, number: usize) -> Option<Vec<Size>> {
        self.input(number).ok()?.into_iter().collect::<Option<Vec<_>>>().filter(|sizes| !sizes.is_empty())
    }

    /// The sizes of an input's axes, as far as they are known.
    fn input(&self, number: usize) -> Result<Vec<Option<Size>>> {
        let (mut info, mut rank, api) = (ptr::null_mut(), 0, self.api);
        // SAFETY: the context and all out pointers are valid, and the arrays have room for all axes. The context owns
        // what it tells of the input, names among it.
        unsafe {
            check(api, (api.ShapeInferContext_GetInputTypeShape)(self.context, number, &mut info))?;
            check(api, (api.GetDimensionsCount)(info, &mut rank))?;
            let (mut sizes, mut names) = (vec![0i64; rank], vec![ptr::null::<c_char>(); rank]);
            check(api, (api.GetDimensions)(info, sizes.as_mut_ptr(), rank))?;
            check(api, (api.GetSymbolicDimensions)(info, names.as_mut_ptr(), rank))?;
            let size = |(size, name): (i64, *const c_char)| {
                let name = if name.is_null() { c"" } else { CStr::from_ptr(name) };
                match size {
                    0.. => Some(Size::Known(size)),
                    _ if name.is_empty() => None,
                    _ => Some(Size::Named(name.to_owned())),
                }
            };
            Ok(sizes.into_iter().zip(names).map(size).collect())
        }
    }

    /// A whole number, or `default` where there is none.
    pub(crate) fn int(&self, name: &CStr, default: i64) -> i64 {
        let mut value = [default];
        if self.read(name, OrtOpAttrType::ORT_OP_ATTR_INT, &mut value) == Ok(1) { value[0] } else { default }
    }

    /// Whole numbers, at most as many as a tensor has axes; none where the attribute is not there.
    pub(crate) fn ints(&self, name: &CStr) -> Vec<i64> {
        let mut values = [0; 64];
        let count = self.read(name, OrtOpAttrType::ORT_OP_ATTR_INTS, &mut values).unwrap_or_default();
        values[..count].to_vec()
    }

    fn read(&self, name: &CStr, kind: OrtOpAttrType, values: &mut [i64]) -> Result<usize, ()> {
        let (mut attribute, mut bytes, api) = (ptr::null(), 0, self.api);
        let room = size_of_val(values);
        // SAFETY: the name is NUL-terminated, the context and the out pointers are valid, and the room is that of the
        // values.
        unsafe {
            check(api, (api.ShapeInferContext_GetAttribute)(self.context, name.as_ptr(), &mut attribute))
                .map_err(|_| ())?;
            let data = values.as_mut_ptr().cast::<c_void>();
            check(api, (api.ReadOpAttr)(attribute, kind, data, room, &mut bytes)).map_err(|_| ())?;
        }
        let count = bytes / size_of::<i64>();
        if count <= values.len() { Ok(count) } else { Err(()) }
    }

    /// Says that the output has these sizes.
    fn set(&self, sizes: &[Size]) -> Result<()> {
        let (mut info, api) = (ptr::null_mut(), self.api);
        let known: Vec<i64> = sizes.iter().map(|size| if let Size::Known(size) = size { *size } else { -1 }).collect();
        let name = |size: &Size| if let Size::Named(name) = size { name.as_ptr() } else { c"".as_ptr() };
        let mut names: Vec<_> = sizes.iter().map(name).collect();
        // SAFETY: the context, the arrays and the out pointer are valid; what is made is released.
        unsafe {
            check(api, (api.CreateTensorTypeAndShapeInfo)(&mut info))?;
            let told = (|| {
                let float = ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
                check(api, (api.SetTensorElementType)(info, float))?;
                check(api, (api.SetDimensions)(info, known.as_ptr(), known.len()))?;
                check(api, (api.SetSymbolicDimensions)(info, names.as_mut_ptr(), names.len()))?;
                check(api, (api.ShapeInferContext_SetOutputTypeShape)(self.context, 0, info))?;
                Ok::<_, Error>(())
            })();
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            told
        }
    }
}

/// The shape that shapes with some known sizes broadcast to, where all of it is known.
fn broadcast(inputs: &[Vec<Option<Size>>]) -> Option<Vec<Size>> {
    let rank = inputs.iter().map(Vec::len).max()?;
    let size = |axis: usize| {
        let mut found = Some(Size::Known(1));
        for input in inputs {
            let Some(place) = (axis + input.len()).checked_sub(rank) else { continue };
            found = match (found, &input[place]) {
                (found, Some(Size::Known(1))) => found,
                // Whatever the others are, they have to be this or 1.
                (_, Some(Size::Known(size))) => return Some(Size::Known(*size)),
                (Some(Size::Known(1)), size) => size.clone(),
                (Some(found), Some(size)) if found == *size => Some(found),
                _ => None,
            };
        }
        found
    };
    (0..rank).map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_where_they_are_sure() {
        let named = |name: &str| Some(Size::Named(CString::new(name).unwrap()));
        let known = |size| Some(Size::Known(size));
        let batch = vec![named("batch"), known(16), known(8)];
        let all = |sizes: &[Option<Size>]| sizes.iter().cloned().collect::<Option<Vec<_>>>();
        assert_eq!(broadcast(&[batch.clone(), vec![known(16), known(1)]]), all(&batch));
        assert_eq!(broadcast(&[vec![known(1)], batch.clone(), batch.clone()]), all(&batch));
        assert_eq!(broadcast(&[vec![None], vec![known(3)]]), all(&[known(3)]));
        assert_eq!(broadcast(&[vec![None], vec![known(1)]]), None);
        assert_eq!(broadcast(&[vec![named("a")], vec![named("b")]]), None);
        // One of two that differ may be 1; with a third that is neither, that one is it.
        assert_eq!(broadcast(&[vec![named("a")], vec![named("b")], vec![known(5)]]), all(&[known(5)]));
    }
}
