//! Operators that are more than functions of their inputs: those that draw, and those that write to an input.
//!
//! A second evaluation must repeat neither effect: both passes see the same draws, and state moves once a step.

use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Graph, Renaming, Value};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{MICROSOFT, NodeProto, standard_domain};

/// What evaluating a node does besides giving its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// It draws, and what it draws does not go through it as a function: both passes use the one draw.
    Draws,
    /// It draws a mask (output 1) and multiplies by it (inputs: data, ratio, training mode).
    Masks,
    /// It overwrites its inputs 3 and 4, the running mean and variance; its other outputs do not depend on them.
    MovesStatistics,
    /// It draws in a way that this program cannot repeat.
    Unrepeatable,
}

impl Effect {
    pub(super) fn of(node: &NodeProto) -> Self {
        let training_mode = || node.attribute("training_mode").is_some_and(|a| a.i() != 0);
        match (standard_domain(node.domain()), node.op_type()) {
            (
                "",
                "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Bernoulli"
                | "Multinomial",
            ) => Self::Draws,
            // Without the input `training_mode` Dropout passes its data through.
            ("", "Dropout") if node.input(2).is_some() => Self::Masks,
            ("", "BatchNormalization") | (MICROSOFT, "BatchNormInternal") if training_mode() => Self::MovesStatistics,
            (MICROSOFT, "BiasDropout" | "BitmaskDropout" | "BitmaskBiasDropout") => Self::Unrepeatable,
            _ => Self::None,
        }
    }
}

/// Whether evaluating the node draws numbers.
pub(crate) fn draws(node: &NodeProto) -> bool {
    matches!(Effect::of(node), Effect::Draws | Effect::Masks)
}

/// Appends a copy of the node at `index` for a further pass, without its effect.
///
/// # Errors
/// Where the effect cannot be taken out.
pub(super) fn repeat(graph: &mut Graph, index: usize, renaming: &mut Renaming, pass: &'static str) -> Result<()> {
    let node = &graph.nodes()[index];
    refuse_effects_in_bodies(node)?;
    match Effect::of(node) {
        Effect::None => graph.duplicate(index, renaming, pass),
        // `Artifact::at` never copies these: the draw of the first pass stands for itself.
        Effect::Draws => {}
        Effect::Masks => repeat_mask(graph, index, renaming, pass),
        Effect::MovesStatistics => repeat_without_state(graph, index, renaming, pass),
        Effect::Unrepeatable => {
            return Err(Error::unsupported("the operator draws a mask that the second pass cannot be given")
                .at_node(node.label(), &node.operator())
                .help("save the training model before ONNX Runtime fuses it, so that it has plain Dropout nodes"));
        }
    }
    Ok(())
}

/// The mask is the first pass's, so the copy is no Dropout but the multiplication by a given mask,
/// y = x ∘ mask / (1 − ratio), which is what ONNX Runtime's DropoutGrad computes.
fn repeat_mask(graph: &mut Graph, index: usize, renaming: &mut Renaming, pass: &'static str) {
    let mask = graph.ensure_output(index, 1, "mask");
    let node = &graph.nodes()[index];
    let read = |i: usize| node.input(i).map_or_else(|| Value::from(""), |name| renaming.apply(name));
    let (data, ratio, training_mode) = (read(0), read(1), read(2));
    let output = node.output.first().cloned().unwrap_or_default();
    let inputs = [&data, &mask, &ratio, &training_mode];
    let b = Builder::new(graph, pass);
    let fact = b.fact(&output.as_str().into());
    let masked = b.named_in(&output, (MICROSOFT, "DropoutGrad"), &inputs, vec![], fact);
    graph.mark_newest_as_copy_of(index);
    renaming.insert(&output, masked);
}

/// The copy moves statistics of its own that nobody reads: copies of the true ones, which must be new buffers. ONNX
/// Runtime removes an Identity, and would then hand the kernel the true buffers again; the maximum of a tensor and
/// itself it computes.
fn repeat_without_state(graph: &mut Graph, index: usize, renaming: &mut Renaming, pass: &'static str) {
    let scratch = [3, 4].map(|i| {
        let statistic = Value::from(graph.nodes()[index].input(i)?);
        let b = Builder::new(graph, pass);
        Some((i, b.named(&statistic, "Max", &[&statistic, &statistic], b.fact(&statistic))))
    });
    let scratch: Vec<_> = scratch.into_iter().flatten().collect();
    graph.duplicate_reading(index, &scratch, renaming, pass);
}

/// The first of `nodes` that has an effect, or whose bodies have one.
fn first_effect(nodes: &[NodeProto]) -> Option<&NodeProto> {
    nodes
        .iter()
        .find_map(|node| Some(node).filter(|n| Effect::of(n) != Effect::None).or_else(|| effect_in_bodies(node)))
}

fn effect_in_bodies(node: &NodeProto) -> Option<&NodeProto> {
    node.subgraphs().find_map(|body| first_effect(&body.node))
}

/// Checks that the functions that the model brings along have no effects: a call of one looks like any other node.
pub(super) fn refuse_effects_in_functions(model: &Model) -> Result<()> {
    let found = model.header.functions.iter().find_map(|f| Some((f, first_effect(&f.node)?)));
    match found {
        None => Ok(()),
        Some((function, inner)) => Err(Error::unsupported(format!(
            "the function `{}` has a {} node, whose random draw or state cannot be kept from happening twice",
            function.name(),
            inner.operator()
        ))
        .help("inline the model's functions before making the artifacts")),
    }
}

fn refuse_effects_in_bodies(node: &NodeProto) -> Result<()> {
    let found = effect_in_bodies(node);
    match found {
        None => Ok(()),
        Some(inner) => Err(Error::unsupported(format!(
            "its body has a {} node, whose random draw or state cannot be kept from happening twice",
            inner.operator()
        ))
        .at_node(node.label(), &node.operator())
        .help("move the random or normalising node out of the body")),
    }
}

#[cfg(test)]
mod tests {
    use crate::objective::artifact::tests::artifact;
    use crate::objective::{Artifact, Objective as _};
    use gnp_model::graph::{Graph, SOURCE_KEY, Value};
    use gnp_model::onnx::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};
    use gnp_model::testing::{body, node};

    /// Evaluates the objective with w′ in place of w, in a graph with these nodes between w and `y`, of which the
    /// gradient of w is made. Returns the copies.
    fn second_pass(nodes: &[NodeProto]) -> gnp_base::Result<Vec<NodeProto>> {
        let model = artifact(nodes);
        let objective = Artifact::recognise(&model)?;
        let mut graph = Graph::new(model.graph)?;
        objective.at(&mut graph, &[Value::from("w′")], "perturbed")?;
        Ok(graph.added_nodes().cloned().collect())
    }

    /// The names of the nodes that the copies stand for, of those between w and `y`.
    fn sources(copies: &[NodeProto]) -> Vec<&str> {
        let entries = copies.iter().flat_map(|n| &n.metadata_props).filter(|e| e.key() == SOURCE_KEY);
        entries.map(|e| e.value()).filter(|name| !["w_grad", "loss"].contains(name)).collect()
    }

    fn with_flag(node: impl Into<NodeProto>, name: &str) -> NodeProto {
        let mut node = node.into();
        node.attribute.push(AttributeProto { name: Some(name.into()), i: Some(1), ..Default::default() });
        node
    }

    fn in_domain(node: impl Into<NodeProto>, domain: &str) -> NodeProto {
        NodeProto { domain: Some(domain.into()), ..node.into() }
    }

    #[test]
    fn a_draw_serves_both_passes() {
        for operator in ["RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"] {
            let draw = node(operator, &["scaled"], &["noise"]);
            let nodes = [node("Mul", &["x", "w"], &["scaled"]), draw, node("Add", &["scaled", "noise"], &["y"])];
            let copies = second_pass(&nodes.map(Into::into)).unwrap();
            assert_eq!(sources(&copies), ["scaled", "y"], "{operator}");
            assert_eq!(copies[1].input, ["gnp/perturbed/scaled", "noise"]);
        }
    }

    #[test]
    fn what_only_a_draw_connects_with_a_parameter_is_shared() {
        let nodes = [
            node("Bernoulli", &["w"], &["coin"]),
            node("Neg", &["coin"], &["heads"]),
            node("Mul", &["w", "heads"], &["y"]),
        ];
        let copies = second_pass(&nodes.map(Into::into)).unwrap();
        assert_eq!(sources(&copies), ["y"]);
        assert_eq!(copies[0].input, ["w′", "heads"]);
    }

    #[test]
    fn a_mask_serves_both_passes_and_is_named_where_it_was_not() {
        for outputs in [&["y"][..], &["y", ""], &["y", "kept"]] {
            let copies = second_pass(&[node("Dropout", &["w", "ratio", "training"], outputs).into()]).unwrap();
            assert_eq!(copies[0].operator(), "com.microsoft.DropoutGrad");
            let mask = if outputs.len() == 2 && !outputs[1].is_empty() { "kept" } else { "gnp/output/mask" };
            assert_eq!(copies[0].input, ["w′", mask, "ratio", "training"]);
        }
    }

    #[test]
    fn dropout_that_does_not_train_is_repeated_as_it_is() {
        let copies = second_pass(&[node("Dropout", &["w"], &["y"]).into()]).unwrap();
        assert_eq!((copies[0].operator().as_str(), &copies[0].input[..]), ("Dropout", &["w′".to_owned()][..]));
    }

    #[test]
    fn masks_that_cannot_be_handed_on_are_refused() {
        for operator in ["BiasDropout", "BitmaskDropout", "BitmaskBiasDropout"] {
            let dropout = node(operator, &["w", "b", "", "ratio", "training"], &["y"]);
            let error = second_pass(&[in_domain(dropout, "com.microsoft")]).unwrap_err();
            assert!(error.to_string().contains(&format!("node `y` (com.microsoft.{operator})")), "{error}");
            assert!(error.help_text().is_some());
        }
        // Where no parameter comes near it, it happens once anyway.
        let nodes =
            [in_domain(node("BiasDropout", &["x"], &["d"]), "com.microsoft"), node("Mul", &["d", "w"], &["y"]).into()];
        assert_eq!(sources(&second_pass(&nodes).unwrap()), ["y"]);
    }

    #[test]
    fn statistics_move_in_copies_that_nobody_reads() {
        let inputs = ["w", "scale", "bias", "mean", "var"];
        for (operator, domain) in [("BatchNormalization", ""), ("BatchNormInternal", "com.microsoft")] {
            let norm = in_domain(node(operator, &inputs, &["y", "new_mean", "new_var"]), domain);
            let copies = second_pass(&[with_flag(norm.clone(), "training_mode")]).unwrap();
            let [mean, var, norm_copy, ..] = &copies[..] else { panic!("{copies:?}") };
            assert_eq!((mean.op_type(), &mean.input), ("Max", &vec!["mean".to_owned(); 2]));
            assert_eq!((var.op_type(), &var.input), ("Max", &vec!["var".to_owned(); 2]));
            assert_eq!(norm_copy.input, ["w′", "scale", "bias", &mean.output[0], &var.output[0]]);
            // At inference nothing moves.
            assert_eq!(second_pass(&[norm]).unwrap()[0].input, ["w′", "scale", "bias", "mean", "var"]);
        }
    }

    #[test]
    fn a_body_with_an_effect_is_refused() {
        let draws = |inner: GraphProto| node("If", &["x"], &["y"]).with(inner);
        let inner = body(&[], &[node("RandomNormalLike", &["w"], &["z"])], &["z"]);
        let nested = body(&[], &[node("If", &["x"], &["o"]).with(inner.clone())], &["o"]);
        for inner in [inner, nested] {
            let error = second_pass(&[draws(inner).into()]).unwrap_err();
            assert!(error.to_string().contains("node `y` (If): its body has a RandomNormalLike node"), "{error}");
        }
    }

    #[test]
    fn a_function_with_an_effect_is_refused() {
        let mut model = artifact(&[node("Noisy", &["w"], &["y"]).into()]);
        let function = |operator: &str| FunctionProto {
            name: Some("Noisy".into()),
            node: vec![node(operator, &["x"], &["z"]).into()],
            ..Default::default()
        };
        model.header.functions = vec![function("Neg")];
        Artifact::recognise(&model).unwrap();
        model.header.functions.push(function("RandomNormalLike"));
        let error = Artifact::recognise(&model).unwrap_err();
        assert!(error.to_string().contains("the function `Noisy` has a RandomNormalLike node"), "{error}");
    }

    #[test]
    fn a_body_that_captures_a_parameter_is_repeated() {
        let inner = body(
            &["i", "go", "sum"],
            &[node("Add", &["sum", "w"], &["next"]), node("Not", &["go"], &["on"])],
            &["on", "next"],
        );
        let copies = second_pass(&[node("Loop", &["", "", "x"], &["y"]).with(inner).into()]).unwrap();
        let copy = copies[0].attribute[0].g.as_ref().unwrap();
        assert_eq!(copy.node[0].input, ["gnp/perturbed/sum", "w′"]);
        assert_eq!(copies[0].input, ["", "", "x"]);
    }
}
