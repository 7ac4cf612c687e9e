//! Rules in the gradient operators of ONNX Runtime's training build (domain `com.microsoft`, version 1.19.2), which has
//! kernels for them on the processor and on CUDA. Each goes over the data once, where standard operators do so several
//! times.
//!
//! They take float32 alone, and a cotangent of the first output alone. A rule declines what its operator does not get
//! right (`docs/gradients.md`); the standard rule then has its place.

use super::conv::conv_data;
use super::norm::layer_statistics;
use super::pool::max_pool_at;
use super::{Cotangents, Op};
use crate::autodiff::Gradients;
use crate::whole::{BATCH_NORM_INTERNAL, CROSS_ENTROPY_INTERNAL};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{AttributeProto, MICROSOFT, standard_domain};

/// A vector-Jacobian product; none where the rule declines.
type Fused = fn(&Op, &Value, &Builder<'_>) -> Result<Option<Cotangents>>;

/// On the processor these take longer than the standard operators, since the kernels have one thread.
const CUDA: &[Gradients] = &[Gradients::OrtCuda];
/// For CUDA these have another rule.
const PROCESSOR: &[Gradients] = &[Gradients::Ort];
const BOTH: &[Gradients] = &[Gradients::Ort, Gradients::OrtCuda];

/// The rules, each with the choices that have it.
const RULES: &[(&[Gradients], &str, &str, Fused)] = &[
    (BOTH, MICROSOFT, BATCH_NORM_INTERNAL, batch),
    (BOTH, MICROSOFT, CROSS_ENTROPY_INTERNAL, cross_entropy),
    (BOTH, "", "LayerNormalization", layer),
    (BOTH, "", "MaxPool", max_pool),
    (BOTH, "", "Sigmoid", sigmoid),
    (BOTH, "", "Softmax", softmax),
    (CUDA, "", "Conv", conv),
    (CUDA, "", "Gelu", gelu),
    (CUDA, MICROSOFT, "Gelu", gelu),
    (CUDA, "", "LogSoftmax", log_softmax),
    (CUDA, "", "Relu", relu),
    (PROCESSOR, "", "Conv", conv_weights),
];

impl Gradients {
    fn rule(self, domain: &str, operator: &str) -> Option<Fused> {
        let domain = standard_domain(domain);
        let found = RULES.iter().find(|(of, d, o, _)| of.contains(&self) && (*d, *o) == (domain, operator));
        found.map(|(.., rule)| *rule)
    }

    /// Whether there is a rule for an operator in the runtime's own ones.
    pub(crate) fn fuse(self, domain: &str, operator: &str) -> bool {
        self.rule(domain, operator).is_some()
    }

    /// What the rule makes of a node, if there is one that takes it.
    ///
    /// # Errors
    /// Where the node lacks an input.
    pub(in crate::autodiff) fn fused(
        self,
        op: &Op,
        cotangents: &[Option<Value>],
        g: &Builder<'_>,
    ) -> Result<Option<Cotangents>> {
        let Some(rule) = self.rule(op.domain(), op.op_type()) else { return Ok(None) };
        let [Some(dy), others @ ..] = cotangents else { return Ok(None) };
        // Labels are whole numbers.
        let is_taken = |value: &Value| matches!(g.fact(value).element, DataType::Float | DataType::Int64);
        if others.iter().any(Option::is_some) || !op.inputs().iter().flatten().all(is_taken) {
            return Ok(None);
        }
        rule(op, dy, g)
    }
}

fn batch(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    let (x, scale, bias, mean, inverse) = (op.input(0)?, op.input(1)?, op.input(2)?, op.output(3)?, op.output(4)?);
    let epsilon = AttributeProto::float("epsilon", op.float("epsilon", 1e-5));
    let inputs = [dy, x, scale, mean, inverse];
    Ok(Some(all("BatchNormalizationGrad", &inputs, vec![epsilon], &[x, scale, bias], g)))
}

/// The labels are classes, or not to count: the loss sees to it.
fn cross_entropy(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    let left_out = Value::from("");
    let (x, log_probabilities, labels) = (op.input(0)?, op.output(1)?, op.input(1)?);
    let [weights, ignored] = [2, 3].map(|i| op.optional(i).unwrap_or(&left_out));
    let inputs = [dy, log_probabilities, labels, weights, ignored];
    let attributes = op.attribute.iter().filter(|a| a.name() == "reduction").cloned().collect();
    let gradient = g.node_in(MICROSOFT, "SoftmaxCrossEntropyLossInternalGrad", &inputs, attributes, g.fact(x));
    Ok(Some([gradient].into()))
}

/// The forward pass says where the greatest elements are, in place of a second one. MaxPoolGrad is left out, which
/// takes the sizes of its output from the file and writes wherever it is told to.
fn max_pool(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    if op.int("storage_order", 0) != 0 {
        return Ok(None);
    }
    let fact = g.fact(op.output(0)?).with_element(DataType::Int64);
    let positions = g.ensure_output(op.index(), 1, "positions", fact);
    max_pool_at(&positions, op, dy, g).map(Some)
}

/// The runtime's operator takes a scale for each element of what is normalised, and more than one of these.
fn layer(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    let (x, scale, axis) = (op.input(0)?, op.input(1)?, op.int("axis", -1));
    let takes = |x: &Fact| {
        x.split_at(axis).is_some_and(|(_, normal)| {
            let is_one = normal.iter().all(|dim| *dim == Dim::Known(1));
            let is_known = normal.iter().all(|dim| matches!(dim, Dim::Known(_)));
            is_known && !is_one && g.fact(scale).shape.as_deref() == Some(normal)
        })
    };
    if !takes(&g.fact(x)) {
        return Ok(None);
    }
    let Some([mean, inverse]) = layer_statistics(op, g)? else { return Ok(None) };
    let inputs = [dy, x, scale, &mean, &inverse];
    Ok(Some(all("LayerNormalizationGrad", &inputs, vec![AttributeProto::int("axis", axis)], &[x, scale, scale], g)))
}

fn sigmoid(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    Ok(Some(one("SigmoidGrad", [dy, op.output(0)?], vec![], g)))
}

fn softmax(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    Ok(Some(one("SoftmaxGrad_13", [dy, op.output(0)?], vec![AttributeProto::int("axis", op.int("axis", -1))], g)))
}

fn log_softmax(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    Ok(Some(one("LogSoftmaxGrad_13", [dy, op.output(0)?], vec![AttributeProto::int("axis", op.int("axis", -1))], g)))
}

fn relu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    Ok(Some(one("ReluGrad", [dy, op.output(0)?], vec![], g)))
}

/// The runtime's operator is the gradient of the form with erf.
fn gelu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    let is_exact = op.string("approximate", "none") == "none";
    Ok(if is_exact { Some(one("GeluGrad", [dy, op.input(0)?], vec![], g)) } else { None })
}

/// The runtime's operator does not see `auto_pad`, and, on CUDA, the margins at the end.
fn conv(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    if !is_evenly_padded(op) {
        return Ok(None);
    }
    Ok(Some(Cotangents::of(conv_grad(op, dy, |input| op.wants(input), g)?)))
}

/// On the processor the gradient of the data is the standard rule's: a convolution takes less time there than the
/// runtime's operator. So do, for the weights of large windows on a channel each, the standard operators.
fn conv_weights(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Option<Cotangents>> {
    let weights = g.fact(op.input(1)?).sizes();
    let is_slow = match weights.as_deref() {
        Some([_, inner, kernel @ ..]) => *inner == 1 && op.int("group", 1) > 1 && is_large(kernel),
        _ => true,
    };
    if is_slow || !op.wants(1) || !is_evenly_padded(op) {
        return Ok(None);
    }
    let mut cotangents = conv_grad(op, dy, |input| input > 0 && op.wants(input), g)?;
    if op.wants(0) {
        cotangents[0] = Some(conv_data(op, dy, g)?);
    }
    Ok(Some(Cotangents::of(cotangents)))
}

fn is_evenly_padded(op: &Op) -> bool {
    let pads = op.ints("pads").unwrap_or_default();
    let (begin, end) = pads.split_at(pads.len() / 2);
    op.string("auto_pad", "NOTSET") == "NOTSET" && begin == end
}

/// Whether a window has more places than 5×5.
fn is_large(kernel: &[i64]) -> bool {
    kernel.iter().try_fold(1i64, |size, length| size.checked_mul(*length)).is_none_or(|size| size > 25)
}

/// The cotangents of those inputs for which `wanted` holds, by the runtime's operator.
fn conv_grad(op: &Op, dy: &Value, wanted: impl Fn(usize) -> bool, g: &Builder<'_>) -> Result<Vec<Option<Value>>> {
    let attributes = op.attribute.iter().filter(|a| a.name() != "auto_pad").cloned().collect();
    let facts = op.inputs().iter().enumerate().map(|(i, input)| Some(g.fact(input.as_ref()?)).filter(|_| wanted(i)));
    let inputs = [dy, op.input(0)?, op.input(1)?];
    Ok(g.nodes_in(MICROSOFT, "ConvGrad", &inputs, attributes, facts.collect()))
}

/// The cotangent of the one operand; it has the shape of `dy`.
fn one(operator: &str, inputs: [&Value; 2], attributes: Vec<AttributeProto>, g: &Builder<'_>) -> Cotangents {
    [g.node_in(MICROSOFT, operator, &inputs, attributes, g.fact(inputs[1]))].into()
}

/// The cotangents of all of `operands`, which have their types and shapes.
fn all(
    operator: &str,
    inputs: &[&Value],
    attributes: Vec<AttributeProto>,
    operands: &[&Value],
    g: &Builder<'_>,
) -> Cotangents {
    let facts = operands.iter().map(|operand| Some(g.fact(operand))).collect();
    Cotangents::of(g.nodes_in(MICROSOFT, operator, inputs, attributes, facts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::gradient;
    use foldhash::HashSet;
    use gnp_model::graph::Graph;
    use gnp_model::onnx::proto::NodeProto;
    use gnp_model::testing::{body, node};

    /// The graph of a loss of y, an output of `node`, with its gradient with respect to `x`, `w` and `b`. All of these
    /// are of the sizes that are given.
    fn differentiated(node_of_y: NodeProto, sizes: &[(&str, &[i64])]) -> Graph {
        let nodes = [node_of_y.into(), node("ReduceSum", &["y"], &["loss"])];
        let mut graph = Graph::new(body(&["x", "w", "b", "constant"], &nodes, &["loss"])).unwrap();
        graph.declare("loss", Fact::with_sizes(DataType::Float, &[]));
        for (name, sizes) in sizes {
            graph.declare(name, Fact::with_sizes(DataType::Float, sizes));
        }
        let wrt = ["x", "w", "b"].map(Value::from);
        gradient(&mut graph, &"loss".into(), &wrt, Gradients::OrtCuda, "gradient").unwrap();
        graph
    }

    fn added<'g>(graph: &'g Graph, operator: &str) -> Option<&'g NodeProto> {
        graph.added_nodes().find(|node| node.is(MICROSOFT, operator))
    }

    fn with(test: gnp_model::testing::TestNode, attributes: &[AttributeProto]) -> NodeProto {
        NodeProto { attribute: attributes.to_vec(), ..test.into() }
    }

    #[test]
    fn choices_have_the_operators_that_have_kernels_there() {
        let rules = |choice: Gradients| RULES.iter().filter(move |(of, ..)| of.contains(&choice));
        for choice in [Gradients::Ort, Gradients::OrtCuda] {
            let operators: HashSet<_> = rules(choice).map(|(_, domain, operator, _)| (domain, operator)).collect();
            assert_eq!(operators.len(), rules(choice).count(), "one of two rules is never used");
            assert!(operators.iter().all(|(domain, operator)| choice.fuse(domain, operator)));
        }
        assert_eq!(rules(Gradients::Standard).count(), 0);
        assert!(Gradients::OrtCuda.fuse("", "Relu") && !Gradients::Ort.fuse("", "Relu"));
    }

    #[test]
    fn a_layer_norm_is_given_the_outputs_that_its_gradient_reads() {
        let layer = || node("LayerNormalization", &["x", "w", "b"], &["y"]).into();
        let graph = differentiated(layer(), &[("x", &[2, 5]), ("w", &[5]), ("b", &[5]), ("y", &[2, 5])]);
        let outputs = &graph.nodes()[0].output;
        assert_eq!(outputs.len(), 3);
        assert_eq!(added(&graph, "LayerNormalizationGrad").unwrap().input[3..], outputs[1..]);
        assert_eq!(graph.facts().get(&outputs[1]).unwrap().sizes(), Some(vec![2, 1]));
        // One number has no deviation, and one scale for all is none for each.
        for (width, scales) in [(1, 1), (5, 1)] {
            let sizes: &[(&str, &[i64])] =
                &[("x", &[2, width]), ("w", &[scales]), ("b", &[scales]), ("y", &[2, width])];
            let graph = differentiated(layer(), sizes);
            assert!(added(&graph, "LayerNormalizationGrad").is_none());
        }
    }

    #[test]
    fn a_convolution_has_only_the_gradients_that_are_wanted() {
        let sizes: &[(&str, &[i64])] = &[("x", &[1, 2, 5, 5]), ("w", &[3, 2, 3, 3]), ("y", &[1, 3, 3, 3])];
        let conv = |name: &str| NodeProto::from(node("Conv", &["x", "w", name], &["y"]));
        let outputs = |graph: &Graph| added(graph, "ConvGrad").unwrap().output.iter().map(|o| !o.is_empty()).collect();
        let found: Vec<bool> = outputs(&differentiated(conv("b"), sizes));
        assert_eq!(found, [true, true, true]);
        let found: Vec<bool> = outputs(&differentiated(conv("constant"), sizes));
        assert_eq!(found, [true, true, false]);
    }

    #[test]
    fn what_an_operator_gets_wrong_it_is_not_given() {
        let sizes: &[(&str, &[i64])] = &[("x", &[1, 2, 5, 5]), ("w", &[3, 2, 3, 3]), ("y", &[1, 3, 5, 5])];
        let conv = |attribute| with(node("Conv", &["x", "w"], &["y"]), &[attribute]);
        for attribute in [AttributeProto::string("auto_pad", "SAME_UPPER"), AttributeProto::ints("pads", &[2, 1, 0, 1])]
        {
            assert!(added(&differentiated(conv(attribute), sizes), "ConvGrad").is_none());
        }
        let gelu = with(node("Gelu", &["x"], &["y"]), &[AttributeProto::string("approximate", "tanh")]);
        assert!(added(&differentiated(gelu, &[("x", &[3]), ("y", &[3])]), "GeluGrad").is_none());
    }

    #[test]
    fn numbers_of_other_types_are_left_to_the_standard_operators() {
        let relu = NodeProto::from(node("Relu", &["x"], &["y"]));
        let floats = differentiated(relu.clone(), &[("x", &[3]), ("y", &[3])]);
        assert!(added(&floats, "ReluGrad").is_some());
        let mut graph =
            Graph::new(body(&["x"], &[relu.into(), node("ReduceSum", &["y"], &["loss"])], &["loss"])).unwrap();
        for (name, sizes) in [("x", &[3][..]), ("y", &[3]), ("loss", &[])] {
            graph.declare(name, Fact::with_sizes(DataType::Double, sizes));
        }
        gradient(&mut graph, &"loss".into(), &["x".into()], Gradients::OrtCuda, "gradient").unwrap();
        assert!(added(&graph, "ReluGrad").is_none());
    }
}
