//! BatchNormalization that trains.

use super::{BatchNorm, Lowering, StatePair, required};
use crate::whole::{BATCH_NORM, BATCH_NORM_INTERNAL, DOMAIN};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Dim, Fact, Facts, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{AttributeProto, GraphProto, MICROSOFT, NodeProto};

impl Lowering<'_> {
    /// Whether a node normalises with statistics that it is given. Where these are computed by the graph, the node does
    /// what it says.
    pub(super) fn infers(&mut self, node: &NodeProto) -> Result<bool> {
        let inputs = [0, 1, 2, 3, 4].map(|i| required(node, i));
        let [x, scale, bias, running_mean, running_variance] = inputs;
        let (_, scale, bias, running) = (x?, scale?, bias?, [running_mean?, running_variance?]);
        if !self.is_layer(&running) {
            return Ok(node.int("training_mode", 0) == 0);
        }
        let has_frozen_weights = self.frozen.contains(&scale) && self.frozen.contains(&bias);
        self.lowered.follows_frozen |= has_frozen_weights && self.settings.batch_norm == BatchNorm::Train;
        Ok(match self.settings.batch_norm {
            BatchNorm::Train => false,
            BatchNorm::Frozen => true,
            BatchNorm::Auto => has_frozen_weights,
        })
    }

    /// Whether the model keeps the statistics from step to step.
    fn is_layer(&self, running: &[Value; 2]) -> bool {
        running.iter().all(|statistic| self.held.contains(statistic))
    }

    /// μ and σ² (that of the population, as the standard has it: Σ (x − μ)² / n) of the batch normalise, and the
    /// running statistics become running · momentum + batch · (1 − momentum). A node that infers (`training_mode` 0)
    /// trains too. Where the graph computes the statistics that the node reads, they are no state: the node does what
    /// it says, and nothing moves.
    ///
    /// [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html), operator set 15.
    pub(super) fn batch_norm(&mut self, node: &NodeProto) -> Result<()> {
        let (x, scale, bias) = (required(node, 0)?, required(node, 1)?, required(node, 2)?);
        let running = [required(node, 3)?, required(node, 4)?];
        let is_layer = self.is_layer(&running);
        let b = self.b;
        if b.fact(&x).rank().is_some_and(|rank| rank < 2) {
            return Err(Error::unsupported("its input has no axis of channels"));
        }
        if has_one_number_a_sample(&b.fact(&x)) {
            self.lowered.over_samples.get_or_insert_with(|| node.label().to_owned());
        }
        let shaped = with_rank(&x, b);
        let epsilon = node.float("epsilon", 1e-5);
        let weights = [&scale, &bias];
        let [y, mean, variance] = if self.has_operator(&[&shaped, &scale, &bias, &running[0], &running[1]]) {
            normalise_by_runtime(&shaped, weights, &running, epsilon, b)?
        } else {
            normalise(&shaped, weights, epsilon, b)
        };
        self.define(node, 0, b.reshape_like(&y, &x));
        let momentum = node.float("momentum", 0.9).into();
        for (index, (running, batch)) in running.into_iter().zip([mean, variance]).enumerate() {
            let next = self.follow(&running, &batch, momentum, is_layer)?;
            let next = self.define(node, index + 1, next);
            if !is_layer {
                continue;
            }
            let state = &mut self.lowered.state;
            match state.iter_mut().find(|pair| pair.state == running) {
                Some(pair) => pair.next = next,
                None => state.push(StatePair { state: running, next }),
            }
        }
        Ok(())
    }

    /// Whether ONNX Runtime's operator is to be used, and takes these inputs: float32, of up to three spatial axes.
    fn has_operator(&self, inputs: &[&Value; 5]) -> bool {
        self.gradients.fuse(MICROSOFT, BATCH_NORM_INTERNAL)
            && inputs.iter().all(|input| self.b.fact(input).element == DataType::Float)
            && self.b.fact(inputs[0]).rank().is_some_and(|rank| rank <= 5)
    }

    /// running · momentum + batch · (1 − momentum), which is what `running` is after the step. A statistic that several
    /// nodes have, since the model calls a module more than once, follows one after the other.
    fn follow(&mut self, running: &Value, batch: &Value, momentum: f64, is_layer: bool) -> Result<Value> {
        if is_layer && !self.kept.contains(running) {
            return Err(Error::unsupported(format!(
                "its running statistic `{running}` cannot move: other nodes read it too"
            ))
            .help("keep the statistics as they are (--batch-norm frozen)"));
        }
        let before = self.lowered.state.iter().find(|pair| pair.state == *running);
        let before = before.map_or(running, |pair| &pair.next).clone();
        let b = self.b;
        let batch = b.reshape_like(batch, running);
        Ok(b.add(b.scale(&before, momentum), b.scale(&batch, 1.0 - momentum)))
    }

    /// The form that infers.
    pub(super) fn freeze(&mut self, node: &NodeProto) -> Result<NodeProto> {
        let mut node = node.clone();
        node.attribute.retain(|a| a.name() != "training_mode");
        for (i, output) in std::mem::take(&mut node.output).into_iter().enumerate() {
            match i {
                0 => node.output.push(output),
                // What reads the running statistics after the step reads them as they are.
                1 | 2 if !output.is_empty() => {
                    let statistic = required(&node, i + 2)?;
                    let _ = self.b.define(&output, &statistic);
                }
                _ => {}
            }
        }
        Ok(node)
    }
}

/// y, μ and σ².
fn normalise(x: &Value, [scale, bias]: [&Value; 2], epsilon: f32, b: &Builder<'_>) -> [Value; 3] {
    let axes = axes_but_channels(x, b);
    let mean = b.reduce("ReduceMean", x, &axes, true);
    let centred = b.sub(x, &mean);
    let variance = b.reduce("ReduceMean", b.mul(&centred, &centred), &axes, true);
    let inverse = b.unary("Reciprocal", b.unary("Sqrt", b.plus(&variance, epsilon.into())));
    let y = b.node_in(DOMAIN, BATCH_NORM, &[x, scale, bias, &centred, &inverse], vec![], b.fact(x));
    [y, mean, variance]
}

/// The same by ONNX Runtime's operator. It overwrites the running statistics that it is given, so these are copies that
/// nobody reads: the next ones follow from μ and s, since on CUDA its variance is that of a sample (Σ (x − μ)² / (n −
/// 1)).
fn normalise_by_runtime(
    x: &Value,
    [scale, bias]: [&Value; 2],
    running: &[Value; 2],
    epsilon: f32,
    b: &Builder<'_>,
) -> Result<[Value; 3]> {
    let [running_mean, running_variance] = running.each_ref().map(|statistic| b.binary("Max", statistic, statistic));
    let facts = [x, &running_mean, &running_variance, &running_mean, &running_variance].map(|v| Some(b.fact(v)));
    let attributes = vec![AttributeProto::float("epsilon", epsilon), AttributeProto::int("training_mode", 1)];
    let inputs = [x, scale, bias, &running_mean, &running_variance];
    let outputs = b.nodes_in(MICROSOFT, BATCH_NORM_INTERNAL, &inputs, attributes, facts.into());
    let [Some(y), _, _, Some(mean), Some(inverse)] = &outputs[..] else {
        return Err(Error::internal("an operator without its outputs"));
    };
    let shifted = b.unary("Reciprocal", b.mul(inverse, inverse));
    Ok([y.clone(), mean.clone(), b.plus(&shifted, -f64::from(epsilon))])
}

/// Whether a sample surely has one number in each channel.
fn has_one_number_a_sample(x: &Fact) -> bool {
    x.shape.as_ref().is_some_and(|shape| shape.iter().skip(2).all(|dim| *dim == Dim::Known(1)))
}

/// The first node of a training model that ONNX Runtime made which takes the statistics of the batch over one number a
/// sample.
pub fn trained_over_samples(graph: &GraphProto) -> Option<String> {
    let facts = Facts::declared(graph);
    let trains = |node: &&NodeProto| {
        let is_one = node.is(MICROSOFT, "BatchNormInternal") || node.is("", "BatchNormalization");
        is_one && node.int("training_mode", 0) == 1
    };
    let mut nodes = graph.node.iter().filter(trains);
    let found = nodes.find(|node| node.input(0).and_then(|x| facts.get(x)).is_some_and(has_one_number_a_sample));
    found.map(|node| node.label().to_owned())
}

/// y = (x − μ) · (s · γ) + β
pub(super) fn expand(node: &NodeProto, b: &Builder<'_>) -> Result<()> {
    let (scale, bias, centred, inverse) =
        (required(node, 1)?, required(node, 2)?, required(node, 3)?, required(node, 4)?);
    let (scale, bias) = (along_channels(&scale, &centred, b), along_channels(&bias, &centred, b));
    let factor = b.mul(&scale, &inverse);
    b.define(&node.output[0], b.add(b.mul(&centred, &factor), &bias));
    Ok(())
}

/// y = x · (s · γ) + (β − μ · s · γ), s = (σ² + ε)^−½
pub(super) fn expand_inference(node: &NodeProto, b: &Builder<'_>) -> Result<()> {
    let (x, scale, bias) = (required(node, 0)?, required(node, 1)?, required(node, 2)?);
    let (mean, variance) = (required(node, 3)?, required(node, 4)?);
    let shifted = b.plus(&variance, node.float("epsilon", 1e-5).into());
    let factor = b.div(&scale, b.unary("Sqrt", &shifted));
    let offset = b.sub(&bias, b.mul(&mean, &factor));
    let shaped = with_rank(&x, b);
    let (factor, offset) = (along_channels(&factor, &shaped, b), along_channels(&offset, &shaped, b));
    let scaled = b.mul(&shaped, &factor);
    b.define(&node.output[0], b.reshape_like(b.add(&scaled, &offset), &x));
    Ok(())
}

/// `x`, where its rank is known; else as [batch, channels, all else].
fn with_rank(x: &Value, b: &Builder<'_>) -> Value {
    if b.fact(x).rank().is_some() { x.clone() } else { b.by_channel(x) }
}

/// All axes but that of the channels.
fn axes_but_channels(x: &Value, b: &Builder<'_>) -> Vec<i64> {
    (0..b.fact(x).rank().unwrap_or(0) as i64).filter(|axis| *axis != 1).collect()
}

/// A vector with an element a channel, so that it broadcasts with `x`.
fn along_channels(vector: &Value, x: &Value, b: &Builder<'_>) -> Value {
    let axes: Vec<i64> = (1..b.fact(x).rank().unwrap_or(2) as i64 - 1).collect();
    b.unsqueeze(vector, &axes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::Gradients;
    use crate::lowering::tests::tensor_info;
    use crate::lowering::{Settings, lower};
    use foldhash::HashSet;
    use gnp_model::graph::Graph;
    use gnp_model::testing::{body, node};

    #[test]
    fn one_number_a_sample_is_told_by_the_shape() {
        let one = |sizes: &[i64]| has_one_number_a_sample(&Fact::with_sizes(DataType::Float, sizes));
        assert!(one(&[8, 4]) && one(&[8, 4, 1, 1]) && !one(&[8, 4, 2, 1]));
        let open = Fact { element: DataType::Float, shape: Some(vec![Dim::Unknown; 3]) };
        assert!(!has_one_number_a_sample(&open));
    }

    #[test]
    fn an_artifact_tells_whether_its_batch_norm_trains_over_samples() {
        let graph = |domain: &str, training: i64, sizes: &[i64]| {
            let mut node = NodeProto::from(node("BatchNormInternal", &["x", "s", "b", "m", "v"], &["y"]));
            node.domain = Some(domain.into());
            node.attribute.push(AttributeProto::int("training_mode", training));
            GraphProto { input: vec![tensor_info("x", sizes)], node: vec![node], ..Default::default() }
        };
        assert_eq!(trained_over_samples(&graph("com.microsoft", 1, &[8, 4])).as_deref(), Some("y"));
        assert_eq!(trained_over_samples(&graph("com.microsoft", 1, &[8, 4, 2, 2])), None);
        assert_eq!(trained_over_samples(&graph("com.microsoft", 0, &[8, 4])), None);
    }

    #[test]
    fn the_runtimes_operator_moves_copies_of_the_statistics() {
        let inputs = ["x", "scale", "bias", "mean", "variance"];
        let lowered = |sizes: &[i64], gradients| {
            let graph = GraphProto {
                input: inputs.map(|name| tensor_info(name, if name == "x" { sizes } else { &[3] })).into(),
                ..body(&[], &[node("BatchNormalization", &inputs, &["y"])], &["y"])
            };
            let mut graph = Graph::new(graph).unwrap();
            let lowered = lower(&mut graph, &Settings::default(), gradients, &HashSet::default()).unwrap();
            assert_eq!(lowered.state.len(), 2);
            (graph, lowered)
        };
        let (graph, lowered_state) = lowered(&[8, 3, 2, 2], Gradients::Ort);
        let norm = graph.nodes().iter().find(|node| node.is(MICROSOFT, BATCH_NORM_INTERNAL)).unwrap();
        assert!(norm.input[3..].iter().all(|copy| !inputs.contains(&copy.as_str())));
        // What comes after the step follows from μ and s, not from what the operator makes of the copies.
        for (pair, of) in lowered_state.state.iter().zip([&norm.output[3], &norm.output[4]]) {
            let ways = graph.ancestors([&*pair.next]).and(&graph.dependents([of.as_str()], |_| false));
            assert!(ways.iter().next().is_some(), "{pair:?}");
            let moved = graph.dependents(norm.output[1..3].iter().map(String::as_str), |_| false);
            assert!(moved.iter().next().is_none());
        }
        for (sizes, gradients) in [(&[8, 3, 2, 2][..], Gradients::Standard), (&[8, 3, 1, 2, 1, 2], Gradients::Ort)] {
            let (graph, _) = lowered(sizes, gradients);
            assert!(graph.nodes().iter().any(|node| node.is(DOMAIN, BATCH_NORM)));
        }
    }
}
