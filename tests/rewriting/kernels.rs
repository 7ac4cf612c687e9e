//! gnp's own kernels in stock ONNX Runtime, against the standard operators that they stand for.
use crate::support::calls;
use gnp::engine::runtime;

#[test]
fn a_kernel_computes_what_the_body_of_its_function_does() {
    needs!(engines);
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    for (number, call) in calls::all().into_iter().enumerate() {
        call.agrees(&stock, number % 128, 2e-6);
    }
}
