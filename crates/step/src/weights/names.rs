//! What the name of a constant tells of it.
//!
//! Names are conventions: of PyTorch's modules (`blocks.0.norm1.weight`, `running_mean`), of its TorchScript exporter,
//! which calls literals `/norm/Constant_output_0` and what it computed `onnx::MatMul_109`, of TensorFlow and its
//! converter (`dense/kernel/ReadVariableOp:0`, `mul/y:0`, and for what it computed `norm/Reshape:0` and
//! `const_fold_opt__12`), of Paddle and its converters (`conv2d_0.w_0`, `helper.constant.3`, `Constant@3`, and
//! `helper.reshape.0`), of ONNX Script (`const_15_cast`), of MXNet (`bn0_gamma`), of scikit-learn (`coefficient`).

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A parameter of a layer.
    Parameter,
    /// What belongs to a layer and does not train.
    Buffer,
    /// A literal of the program that was exported.
    Literal,
    /// Something that the exporter computed.
    Computed,
    /// Nothing.
    Silent,
}

/// Parts of a name, between dots, dashes, slashes, and, in the last part, underscores, that parameters have.
const PARAMETERS: &[&str] = &[
    "weight",
    "weights",
    "bias",
    "biases",
    "kernel",
    "gamma",
    "beta",
    "embed",
    "embedding",
    "embeddings",
    "token",
    "tokens",
    "query",
    "queries",
    "prompt",
    "latents",
    "temperature",
    "resweight",
    "coefficient",
    "coefficients",
    "intercept",
    "intercepts",
    "original0",
    "original1",
];

/// The same of buffers; they take precedence.
const BUFFERS: &[&str] = &[
    "mask", "masks", "mean", "std", "var", "variance", "index", "ids", "freq", "freqs", "anchor", "anchors", "pe",
    "filt", "blur", "window", "mel", "melscale", "fbank", "fbanks", "dct", "sin", "cos", "cached", "buffer", "sigma",
];

/// Last parts of buffers' names.
const WHOLE_BUFFERS: &[&str] = &["_u", "_v", "weight_u"];

/// Last parts of parameters' names.
const WHOLE_PARAMETERS: &[&str] = &["logit_scale", "layer_scale"];

pub(super) fn tells(name: &str) -> Name {
    if is_literal(name) {
        return Name::Literal;
    }
    if is_computed(name) {
        return Name::Computed;
    }
    // TensorFlow reads a variable under this name; what is no weight (a moving mean) stands where no weight does.
    if name.contains("ReadVariableOp") {
        return Name::Parameter;
    }
    let (name, is_of_tensorflow) = match name.strip_suffix(":0") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let last = name.rsplit(['.', '/']).next().unwrap_or(name);
    if WHOLE_PARAMETERS.contains(&last) || is_of_paddle(last) {
        return Name::Parameter;
    }
    if WHOLE_BUFFERS.contains(&last) {
        return Name::Buffer;
    }
    let last = last.to_ascii_lowercase();
    let words = || last.split(['_', '-']).map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()));
    let has = |list: &[&str]| words().any(|word| list.contains(&word)) || list.contains(&&*last);
    if has(BUFFERS) {
        Name::Buffer
    } else if has(PARAMETERS) {
        Name::Parameter
    } else if is_of_tensorflow {
        Name::Computed
    } else {
        Name::Silent
    }
}

/// Whether the name says that what the exporter computed is what it was, moved or in another shape.
pub(super) fn is_rearranged(name: &str) -> bool {
    let last = name.strip_suffix(":0").unwrap_or(name).rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    ["reshape", "transpose", "squeeze", "unsqueeze", "expanddims"].iter().any(|operator| {
        last.strip_prefix(operator).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            || helper(name).is_some_and(|made| made.starts_with(operator))
    })
}

/// The name with a star for every number in it, `a.*.b` for `a.12.b`: a glob that matches it.
pub fn pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '0'..='9' if pattern.ends_with('*') => {}
            '0'..='9' => pattern.push('*'),
            c => pattern.push(c),
        }
    }
    pattern
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_literal(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    let torch_script = last.starts_with("Constant") && last.contains("_output_");
    let dynamo = name.strip_prefix("val_").is_some_and(is_number) || name.starts_with("scalar_tensor_default");
    let operand = last.strip_suffix(":0").is_some_and(|last| matches!(last, "x" | "y" | "Const"));
    let paddle = last.strip_prefix("Constant@").is_some_and(is_number)
        || helper(name).is_some_and(|made| made.starts_with("constant."));
    // Without the cast it may be a weight of JAX.
    let script = last
        .strip_prefix("const_")
        .and_then(|rest| rest.split_once("_cast"))
        .is_some_and(|(number, _)| is_number(number));
    torch_script || dynamo || operand || paddle || script || last.starts_with("Const_")
}

/// What a simplifier makes of a TorchScript export keeps the name of the node that it stands for.
fn is_computed(name: &str) -> bool {
    let is_output = |name: &str| name.rsplit_once("_output_").is_some_and(|(_, number)| is_number(number));
    name.starts_with("onnx::")
        || name.starts_with("const_fold_opt__")
        || helper(name).is_some()
        || (name.starts_with('/') && is_output(name))
}

/// What Paddle's converters made, and its number.
fn helper(name: &str) -> Option<&str> {
    name.strip_prefix("p2o.").unwrap_or(name).strip_prefix("helper.")
}

/// Whether the last part of a name is `w_0` or `b_2`, of which a copy may be made.
fn is_of_paddle(last: &str) -> bool {
    let last = last.split_once("_deepcopy_").map_or(last, |(last, _)| last);
    last.strip_prefix("w_").or_else(|| last.strip_prefix("b_")).is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_what_was_only_moved() {
        for name in ["model/norm/Reshape_1:0", "helper.reshape.0", "a/transpose:0", "b/ExpandDims:0"] {
            assert!(is_rearranged(name), "{name}");
        }
        for name in ["onnx::Conv_3", "const_fold_opt__33", "helper.concat.0", "a/Reshaped:0"] {
            assert!(!is_rearranged(name), "{name}");
        }
        assert_eq!(pattern("blocks.12.fc1.weight"), "blocks.*.fc*.weight");
    }

    #[test]
    fn names_tell_by_the_conventions_of_exporters() {
        let all = [
            (
                Name::Parameter,
                "fc.weight encoder.layers.0.norm1.bias blocks.3.gamma_1 cls_token pos_embed logit_scale dense/kernel:0 \
                 model/dense/MatMul/ReadVariableOp:0 conv2d_0.w_0 bn0_gamma layer.weight_g m.parametrizations.weight.original1 \
                 attn.relative_position_bias_table q_bias coefficient blocks.0.attn.temperature query_embed.weight \
                 self_attn.in_proj_weight mobile_one_block_3.w_1 batch_norm2d_0.b_0_deepcopy_4",
            ),
            (
                Name::Buffer,
                "bn1.running_mean bn1.running_var layers.0.attn_mask rotary.inv_freq pe mean pixel_std weight_u \
                 m.parametrizations.weight.0._v attn.relative_position_index mel.fbank",
            ),
            (
                Name::Literal,
                "/Constant_output_0 /blocks/blocks.0/mlp/act/Constant_2_output_0 val_12 model/mul/y:0 scalar_tensor_default_3 \
                 helper.constant.3 p2o.helper.constant.12 Constant@0 const_15_cast const_14_cast_2",
            ),
            (
                Name::Computed,
                "onnx::MatMul_109 onnx::Add_1399 const_fold_opt__33 model/norm/Reshape_1:0 helper.reshape.0 \
                 /model.22/Squeeze_output_0",
            ),
            (Name::Silent, "w scale 123 h0 g gate const_6"),
        ];
        for (expected, names) in all {
            for name in names.split_ascii_whitespace() {
                assert_eq!(tells(name), expected, "{name}");
            }
        }
    }
}
