//! gnp's own kernels in the training build of ONNX Runtime, which is older.
use crate::support::{calls, training_runtime};

#[test]
fn a_kernel_computes_what_the_body_of_its_function_does() {
    needs!(engines);
    for (number, call) in calls::all().into_iter().enumerate() {
        call.agrees(&training_runtime(), number % 128, 2e-6);
    }
}
