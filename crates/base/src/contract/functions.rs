//! The functions that a step model calls, by name.
//!
//! A kind of function (`Reduce`, say) says what is computed. Its bodies may differ from call to call, so a model has a
//! function for each body, under numbered names. Who registers a kernel of a kind registers it under all of them: what
//! the kernel needs to know is in the attributes of the call.

/// The domain of the functions.
pub const DOMAIN: &str = "gnp";

/// Computes each element of its output from those at its place. Inputs: any number, which broadcast. Attributes:
/// `formula` ([`crate::formula`]).
pub const ELEMENTWISE: &str = "Elementwise";

/// The sum, or the mean, of what [`ELEMENTWISE`] computes, over axes. Attributes: `formula`; `axes`, from 0 on;
/// `keepdims`; `mean`.
pub const REDUCE: &str = "Reduce";

/// The gradient of a convolution's weights. Inputs: x [N, C, …] and dy [N, M, …]. Output: [M, C / group, kernel…].
/// Attributes: `kernel_shape`, `strides`, `dilations`, `pads`, `group`, and [`BLOCKED`] of the inputs.
pub const CONV_GRAD_WEIGHT: &str = "ConvGradWeight";

/// The gradient of a convolution's input. Inputs: dy [N, M, …] and w [M, C / group, kernel…]. Output: [N, C, …].
/// Attributes: those of [`CONV_GRAD_WEIGHT`]; `output_padding`, what the strides leave over at the end of the input;
/// [`BLOCKED`] of dy and of the output.
pub const CONV_GRAD_INPUT: &str = "ConvGradInput";

/// The gradient of a maximum over windows. Inputs: x [N, C, …] and dy [N, C, …]. Output: [N, C, …], as x: each element
/// of dy at the first of the greatest elements of its window. Attributes: `kernel_shape`, `strides`, `dilations`,
/// `pads`, of which those at the end may be any; and [`BLOCKED`] of the inputs, the same for both.
pub const MAX_POOL_GRAD: &str = "MaxPoolGrad";

/// The gradient of a LayerNormalization. Inputs: x, dy as x, the scale, and the means and inverse deviations that the
/// LayerNormalization returned. Outputs: the gradients of x, of the scale and of a bias of its shape. Attributes:
/// `axis`, that of the LayerNormalization; [`CHANNELS_FIRST`]; [`BLOCKED`], one number.
pub const LAYER_NORM_GRAD: &str = "LayerNormGrad";

/// The attribute of a LayerNormalization that says that x is images, [N, C, …], normalised over their channels, as if
/// these came last. No file has it: it is put there where the kernels are.
pub const CHANNELS_FIRST: &str = "channels_first";

/// The attribute of gradients of convolutions and pools that says for two tensors whether they come in blocks of
/// channels: 0, or b for [N, C / b, …, b] in place of [N, C, …]. No file has it: it is put there where the kernels are.
pub const BLOCKED: &str = "blocked";

/// The weights of a convolution, [M, C, kernel…], as ONNX Runtime's convolutions on images in blocks read them. Its
/// attributes: `block`; `both`, whether the channels of the input are in blocks too; `adjoint`, whether the weights are
/// those of the adjoint. It is no function, and no file has it: it is put there where the kernels are.
pub const CONV_WEIGHTS: &str = "ConvWeights";

/// A LayerNormalization. Inputs and outputs: those of the standard's operator, all outputs. Attributes: its `axis` and
/// `epsilon`; [`CHANNELS_FIRST`]; [`BLOCKED`], one number. It is no function, and no file has it: it is put there where
/// the kernels are.
pub const LAYER_NORM: &str = "LayerNorm";

/// A product of matrices. Inputs: a [..., M, K], b [..., K, N] and perhaps a bias, N numbers. Attributes: `a_axes`,
/// `b_axes` and `y_axes`, the orders of the axes of the inputs and the output as ONNX's `Transpose` has them; `alpha`,
/// what the product is multiplied by. It is no function, and no file has it: it is put there where the kernels are.
pub const MATMUL: &str = "MatMul";

/// How many functions of one kind a model may have.
pub const MOST_OF_A_KIND: usize = 128;

/// The name of function `number` of a kind, from 0 on.
///
/// ```
/// use gnp_base::contract::functions::numbered;
/// assert_eq!((numbered("Reduce", 0), numbered("Reduce", 1)), ("Reduce".into(), "Reduce_2".into()));
/// ```
pub fn numbered(kind: &str, number: usize) -> String {
    if number == 0 { kind.to_owned() } else { format!("{kind}_{}", number + 1) }
}

/// The kind of a function by its name.
///
/// ```
/// use gnp_base::contract::functions::kind_of;
/// assert_eq!((kind_of("Reduce"), kind_of("Reduce_12")), ("Reduce", "Reduce"));
/// ```
pub fn kind_of(name: &str) -> &str {
    name.rsplit_once('_').map_or(name, |(kind, _)| kind)
}
