//! An operator as ONNX Runtime's C API declares it.

use super::attributes::Attributes;
use super::context::Context;
use super::kinds::{Inputs, Kernel, Kind};
use super::{API_VERSION, Target, shapes, status};
use gnp_base::Error;
use ort_sys::{
    ONNXTensorElementDataType, OrtApi, OrtCustomOp, OrtCustomOpInputOutputCharacteristic, OrtKernelContext,
    OrtKernelInfo, OrtMemType, OrtStatusPtr,
};
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

/// A kind under one of its names. ONNX Runtime has a pointer to the declaration, which comes first.
#[repr(C)]
pub(crate) struct Operator {
    declaration: OrtCustomOp,
    pub(super) api: &'static OrtApi,
    pub(super) kind: &'static Kind,
    target: Target,
    name: CString,
}

// SAFETY: it is never changed, and all that it points to lives as long as the process.
unsafe impl Send for Operator {}
// SAFETY: as above.
unsafe impl Sync for Operator {}

impl Operator {
    pub(crate) fn new(api: &'static OrtApi, kind: &'static Kind, target: Target, name: CString) -> Self {
        let declaration = OrtCustomOp {
            version: API_VERSION,
            CreateKernel: None,
            GetName: Some(its_name),
            GetExecutionProviderType: Some(provider),
            GetInputType: Some(element_type),
            GetInputTypeCount: Some(input_count),
            GetOutputType: Some(element_type),
            GetOutputTypeCount: Some(output_count),
            KernelCompute: None,
            KernelDestroy: Some(destroy),
            GetInputCharacteristic: Some(input_characteristic),
            GetOutputCharacteristic: Some(output_characteristic),
            GetInputMemoryType: Some(memory),
            GetVariadicInputMinArity: Some(one),
            GetVariadicInputHomogeneity: Some(one),
            GetVariadicOutputMinArity: Some(one),
            GetVariadicOutputHomogeneity: Some(one),
            CreateKernelV2: Some(create),
            KernelComputeV2: Some(compute),
            InferOutputShapeFn: kind.shape.is_some().then_some(shapes::infer),
            GetStartVersion: Some(one),
            GetEndVersion: Some(last_version),
            GetMayInplace: kind.in_place.then_some(in_place),
            ReleaseMayInplace: kind.in_place.then_some(release_in_place),
            GetAliasMap: None,
            ReleaseAliasMap: None,
        };
        Self { declaration, api, kind, target, name }
    }

    pub(crate) fn declaration(&self) -> *const OrtCustomOp {
        ptr::from_ref(self).cast()
    }

    /// # Safety
    /// `op` comes from [`Self::declaration`] of an operator that lives as long as the process.
    pub(super) unsafe fn of(op: *const OrtCustomOp) -> &'static Self {
        // SAFETY: by this function's contract; the declaration is the first field of a `repr(C)` structure.
        unsafe { &*op.cast() }
    }
}

/// A kernel that was made for a node.
struct Made {
    api: &'static OrtApi,
    kernel: Box<dyn Kernel>,
}

unsafe extern "system" fn create(
    op: *const OrtCustomOp,
    api: *const OrtApi,
    info: *const OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime's table lives as long as its library; the operator is ours, the out pointer valid.
    let (op, api) = unsafe { (Operator::of(op), &*api) };
    status::of(api, || {
        // SAFETY: the node's information lives through this call.
        let attributes = unsafe { Attributes::new(api, info) }.ok_or_else(|| Error::internal("a kernel of no node"))?;
        let made = Made { api, kernel: (op.kind.create)(&attributes, op.target)? };
        // SAFETY: the out pointer is valid.
        unsafe { *kernel = Box::into_raw(Box::new(made)).cast() };
        Ok(())
    })
}

unsafe extern "system" fn compute(kernel: *mut c_void, context: *mut OrtKernelContext) -> OrtStatusPtr {
    // SAFETY: it is what `create` returned. ONNX Runtime may run one kernel on several threads.
    let made = unsafe { &*kernel.cast::<Made>() };
    status::of(made.api, || {
        // SAFETY: the context lives through this call.
        made.kernel.run(&unsafe { Context::new(made.api, context) })
    })
}

unsafe extern "system" fn destroy(kernel: *mut c_void) {
    if !kernel.is_null() {
        // SAFETY: it is what `create` returned, and is not used afterwards.
        drop(unsafe { Box::from_raw(kernel.cast::<Made>()) });
    }
}

unsafe extern "system" fn its_name(op: *const OrtCustomOp) -> *const c_char {
    // SAFETY: the operator is ours.
    unsafe { Operator::of(op) }.name.as_ptr()
}

unsafe extern "system" fn provider(op: *const OrtCustomOp) -> *const c_char {
    // SAFETY: the operator is ours.
    match unsafe { Operator::of(op) }.target {
        Target::Cpu => c"CPUExecutionProvider".as_ptr(),
        #[cfg(feature = "cuda")]
        Target::Cuda { .. } => c"CUDAExecutionProvider".as_ptr(),
    }
}

unsafe extern "system" fn element_type(_: *const OrtCustomOp, _: usize) -> ONNXTensorElementDataType {
    ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
}

unsafe extern "system" fn memory(_: *const OrtCustomOp, _: usize) -> OrtMemType {
    OrtMemType::OrtMemTypeDefault
}

unsafe extern "system" fn input_count(op: *const OrtCustomOp) -> usize {
    // SAFETY: the operator is ours.
    match unsafe { Operator::of(op) }.kind.inputs {
        Inputs::Exactly(count) => count,
        Inputs::Any => 1,
    }
}

unsafe extern "system" fn input_characteristic(
    op: *const OrtCustomOp,
    _: usize,
) -> OrtCustomOpInputOutputCharacteristic {
    // SAFETY: the operator is ours.
    match unsafe { Operator::of(op) }.kind.inputs {
        Inputs::Exactly(_) => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_REQUIRED,
        Inputs::Any => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_VARIADIC,
    }
}

unsafe extern "system" fn output_count(op: *const OrtCustomOp) -> usize {
    // SAFETY: the operator is ours.
    unsafe { Operator::of(op) }.kind.outputs
}

unsafe extern "system" fn output_characteristic(
    _: *const OrtCustomOp,
    _: usize,
) -> OrtCustomOpInputOutputCharacteristic {
    OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_REQUIRED
}

unsafe extern "system" fn one(_: *const OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn last_version(_: *const OrtCustomOp) -> c_int {
    c_int::MAX
}

/// How many inputs may give their memory to the output: as many as a formula has operands.
const IN_PLACE: usize = gnp_base::formula::MAX_OPERANDS;

static INPUTS: [c_int; IN_PLACE] = {
    let mut numbers = [0; IN_PLACE];
    let mut number = 0;
    while number < IN_PLACE {
        numbers[number] = number as c_int;
        number += 1;
    }
    numbers
};
static OUTPUTS: [c_int; IN_PLACE] = [0; IN_PLACE];

/// ONNX Runtime reads the pairs, and writes none.
unsafe extern "system" fn in_place(inputs: *mut *mut c_int, outputs: *mut *mut c_int) -> usize {
    // SAFETY: the out pointers are valid.
    unsafe {
        *inputs = INPUTS.as_ptr().cast_mut();
        *outputs = OUTPUTS.as_ptr().cast_mut();
    }
    IN_PLACE
}

unsafe extern "system" fn release_in_place(_: *mut c_int, _: *mut c_int) {}
