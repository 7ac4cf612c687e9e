//! Low-rank adapters (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022).
//!
//! Beside the frozen weight W of a linear layer, y = x·W + (α/r)·(x·Aᵀ)·Bᵀ, with A [r, inputs] drawn and B [outputs, r]
//! zero: the names and shapes of PEFT. They are an edit of the model ([`Edit`]), so that the evaluation model has
//! them too. In the trained model they are part of the weight, or stay beside it.

mod adapter;
mod merged;
mod targets;

pub use adapter::Adapter;
pub(crate) use adapter::{FACTORS, put};
pub(crate) use merged::{parted, taken_up};

use super::record::Record;
use super::{Edit, Selection};
use gnp_base::choice::{Choice, listed};
use gnp_base::{Error, Result};
use gnp_model::onnx::proto::GraphProto;
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};
use targets::{Target, Targets};

/// What becomes of adapters in the trained model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum LoraWrite {
    /// They are added to the weights; quantised ones become floats
    Merge,
    /// They are nodes beside the weights, which stay as they are
    Adapters,
}

/// What the user said of adapters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lora {
    /// r: how many numbers lie between A and B.
    pub rank: usize,
    /// α; where none is given, r, so that the factor α/r is 1.
    pub alpha: Option<f32>,
    /// Globs over the names of weights that get adapters; empty for those of all linear layers but the last.
    pub targets: Vec<String>,
    /// What becomes of adapters in the trained model; where nothing is said, those of quantised weights stay beside
    /// them, and the others are merged.
    pub write: Option<LoraWrite>,
}

impl Lora {
    /// Checks the numbers.
    ///
    /// # Errors
    /// Where the rank is 0, or α is no finite number above 0.
    pub fn validate(&self) -> Result<()> {
        if self.rank == 0 {
            return Err(Error::input("--lora 0: adapters of rank 0 have no numbers to train").help("8 is common"));
        }
        match self.alpha {
            Some(alpha) if !(alpha.is_finite() && alpha > 0.0) => {
                Err(Error::input(format!("--lora-alpha is {alpha}; expected a finite number above 0"))
                    .help("leave it out for the rank, so that the adapters have the factor 1"))
            }
            _ => Ok(()),
        }
    }

    fn scale(&self) -> f32 {
        self.alpha.map_or(1.0, |alpha| alpha / self.rank as f32)
    }
}

/// Adapters that were put into a graph.
pub(crate) struct Attached {
    /// One for each weight that has adapters.
    pub edits: Vec<Edit>,
    pub choices: Vec<Choice>,
    pub warnings: Vec<String>,
}

/// Puts the adapters that `lora` asks for into `graph`, which is not normalised. What `selection` names trains whole,
/// and gets none.
///
/// # Errors
/// Where a glob matches no weight that can have adapters, or there is none.
pub(crate) fn attach(
    graph: &mut GraphProto,
    lora: &Lora,
    selection: &Selection,
    record: Option<&Record>,
) -> Result<Attached> {
    let targets = Targets::of(graph, record);
    let (chosen, choices) = if lora.targets.is_empty() {
        by_default(&targets, selection)?
    } else {
        (targets.named(&lora.targets, selection)?, vec![])
    };
    if lora.write == Some(LoraWrite::Merge)
        && let Some(target) = chosen.iter().find(|target| !target.takes_up)
    {
        return Err(Error::unsupported(format!(
            "--lora-write merge: the weight `{}` is quantised in a form that takes no adapters up",
            target.weight
        ))
        .help("leave --lora-write out: they then stay beside it"));
    }
    let is_above = |target: &&Target| lora.rank as i64 > target.inputs.min(target.outputs);
    let above: Vec<String> = chosen.iter().copied().filter(is_above).map(Target::told).collect();
    let mut warnings = Vec::new();
    if !above.is_empty() {
        warnings.push(format!(
            "the rank {} is above the smaller size of {}: adapters there can be no more than the weight itself, which \
             --also-train trains",
            lora.rank,
            listed(&above)
        ));
    }
    let adapters: Vec<Adapter> = chosen.into_iter().map(|target| target.adapter(lora.rank, lora.scale())).collect();
    targets.check_free(&adapters)?;
    put(graph, adapters.iter())?;
    let mut told = vec![told(&adapters)];
    told.extend(choices);
    Ok(Attached { edits: adapters.into_iter().map(Edit::Adapt).collect(), choices: told, warnings })
}

/// The weights of all linear layers but the last, or last ones, and what is to be said of these.
fn by_default<'t>(targets: &'t Targets, selection: &Selection) -> Result<(Vec<&'t Target>, Vec<Choice>)> {
    let (last, inner): (Vec<&Target>, Vec<&Target>) = targets.all().partition(|target| target.is_last);
    let chosen: Vec<&Target> = inner.into_iter().filter(|target| !target.is_selected(selection)).collect();
    if chosen.is_empty() {
        let error = Error::input("--lora: the model has no weight that adapters go beside unless they are named");
        let names = last.iter().map(|target| target.weight.as_str());
        return Err(error.help(format!(
            "adapters go beside constant matrices at the right of a MatMul or Gemm, but for those of the last layer; \
             name some with --lora-target: {}",
            gnp_base::choice::nearest("", names)
        )));
    }
    let frozen: Vec<&&Target> = last.iter().filter(|target| !target.is_selected(selection)).collect();
    let choice = frozen.first().map(|target| {
        let what = format!("the last layer has no adapters, and its weight `{}` is frozen", target.weight);
        Choice::with(what, format!("--also-train '{}', --lora-target", target.weight))
    });
    Ok((chosen, choice.into_iter().collect()))
}

/// Which weights have adapters.
fn told(adapters: &[Adapter]) -> Choice {
    let names: Vec<String> = adapters.iter().map(|adapter| format!("`{}`", adapter.weight)).collect();
    let shown =
        if names.len() > 4 { format!("{}, … ({})", names[..3].join(", "), names.len()) } else { names.join(", ") };
    Choice::new(
        format!("adapters beside {shown}; all else that no flag names is frozen"),
        "--lora-target, --also-train",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::{AttributeProto, NodeProto, TensorProto};
    use gnp_model::testing::{body, node};

    fn tensor(name: &str, element: DataType, dims: &[i64]) -> TensorProto {
        let size = if element == DataType::Float { 4 } else { 1 };
        let count = dims.iter().product::<i64>() as usize;
        TensorProto::raw(name, element, dims, vec![0; count * size].into())
    }

    /// A token table that is the last layer too, two layers whose weights lie in both ways, and a quantised one.
    fn graph() -> GraphProto {
        let transposed = NodeProto {
            attribute: vec![AttributeProto::int("transB", 1)],
            ..node("Gemm", &["b", "mlp.fc2.weight", "mlp.fc2.bias"], &["c"]).into()
        };
        let nodes: Vec<NodeProto> = vec![
            node("Gather", &["embed.weight", "x"], &["t"]).into(),
            node("MatMul", &["t", "onnx::MatMul_7"], &["a0"]).into(),
            node("Add", &["mlp.fc1.bias", "a0"], &["a"]).into(),
            node("Transpose", &["gate.weight"], &["gate.turned"]).into(),
            node("MatMul", &["a", "gate.turned"], &["b"]).into(),
            transposed,
            node("DequantizeLinear", &["up.weight_quantized", "up.scale"], &["up.dequantised"]).into(),
            node("MatMul", &["c", "up.dequantised"], &["d"]).into(),
            node("Transpose", &["embed.weight"], &["embed.turned"]).into(),
            node("MatMul", &["d", "embed.turned"], &["e"]).into(),
            node("MatMul", &["e", "head.weight"], &["y"]).into(),
        ];
        let float = |name: &str, dims: &[i64]| tensor(name, DataType::Float, dims);
        let initializer = vec![
            float("embed.weight", &[9, 4]),
            float("onnx::MatMul_7", &[4, 6]),
            float("mlp.fc1.bias", &[6]),
            float("gate.weight", &[5, 6]),
            float("mlp.fc2.weight", &[4, 5]),
            float("mlp.fc2.bias", &[4]),
            tensor("up.weight_quantized", DataType::Int8, &[4, 4]),
            float("up.scale", &[]),
            float("head.weight", &[9, 2]),
        ];
        GraphProto { node: nodes, initializer, ..body(&["x"], &[], &["y"]) }
    }

    fn attached(targets: &[&str], selection: &Selection) -> Result<(GraphProto, Vec<Adapter>, Attached)> {
        let targets = targets.iter().map(|&glob| glob.to_owned()).collect();
        let mut graph = graph();
        let attached = attach(&mut graph, &Lora { rank: 2, alpha: Some(4.0), targets, write: None }, selection, None)?;
        let adapters = attached.edits.iter().filter_map(Edit::adapter).cloned().collect();
        Ok((graph, adapters, attached))
    }

    fn selected(train: &str) -> Selection {
        Selection { also_train: vec![train.to_owned()], ..Selection::default() }
    }

    #[test]
    fn all_linear_layers_but_the_last_have_adapters() {
        let (graph, adapters, attached) = attached(&[], &Selection::default()).unwrap();
        let told = |a: &Adapter| (a.module.clone(), a.inputs, a.outputs, a.rows_are_outputs, a.is_quantised);
        let expected = [
            ("mlp.fc1", 4, 6, false, false),
            ("gate", 6, 5, true, false),
            ("mlp.fc2", 5, 4, true, false),
            ("up", 4, 4, false, true),
        ];
        let expected = expected.map(|(module, k, n, rows, quantised)| (module.to_owned(), k, n, rows, quantised));
        assert_eq!(adapters.iter().map(told).collect::<Vec<_>>(), expected);
        assert!(attached.choices[1].what.contains("its weight `head.weight` is frozen"));
        gnp_model::graph::Graph::new(graph).expect("the graph is well-formed");
    }

    #[test]
    fn an_adapter_is_a_product_of_two_beside_the_layer() {
        let (graph, ..) = attached(&["gate.*"], &Selection::default()).unwrap();
        let lines: Vec<String> = graph.node[4..12]
            .iter()
            .map(|node| format!("{} = {}({})", node.output[0], node.op_type(), node.input.join(", ")))
            .map(|line| line.replace("gnp/lora/b/", ""))
            .collect();
        let expected = [
            "frozen = MatMul(a, gate.turned)",
            "a = Transpose(gate.lora_A.weight)",
            "low = MatMul(a, a)",
            "scaled = Mul(low, gnp/lora/factor/2)",
            "b = Transpose(gate.lora_B.weight)",
            "delta = MatMul(scaled, b)",
            "b = Add(frozen, delta)",
        ];
        assert_eq!(lines[..7], expected);
    }

    #[test]
    fn globs_name_weights_by_any_of_their_names() {
        for (glob, module) in [
            ("onnx::*", "mlp.fc1"),
            ("mlp.fc1.weight", "mlp.fc1"),
            ("up.weight_q*", "up"),
            ("up.deq*", "up"),
            ("head*", "head"),
        ] {
            let (_, adapters, _) = attached(&[glob], &Selection::default()).unwrap();
            assert_eq!(adapters.iter().map(|a| a.module.as_str()).collect::<Vec<_>>(), [module], "{glob}");
        }
    }

    #[test]
    fn what_trains_whole_has_none() {
        let (_, adapters, _) = attached(&[], &selected("gate.weight")).unwrap();
        assert!(adapters.len() == 3 && adapters.iter().all(|adapter| adapter.module != "gate"));
        let error = attached(&["gate*"], &selected("gate.weight")).err().unwrap();
        assert!(error.to_string().contains("`gate.weight` trains whole"), "{error}");
    }

    #[test]
    fn what_can_have_no_adapters_is_said() {
        let refused = |glob: &str| attached(&[glob], &Selection::default()).err().unwrap();
        assert_eq!(refused("gat.weight").help_text(), Some("did you mean `gate.weight`?"));
        let error = refused("embed.weight");
        assert!(error.to_string().contains("`embed.weight` can have no adapters: Gather reads it"), "{error}");
        assert!(Lora { rank: 0, ..Lora::default() }.validate().is_err());
        assert!(Lora { rank: 1, alpha: Some(-1.0), ..Lora::default() }.validate().is_err());
        let (.., attached) = attached(&["*"], &Selection::default()).unwrap();
        assert!(attached.warnings.is_empty());
        let lora = Lora { rank: 5, targets: vec!["mlp.fc1.weight".into()], ..Lora::default() };
        let attached = attach(&mut graph(), &lora, &Selection::default(), None).unwrap();
        assert!(attached.warnings[0].contains("the rank 5 is above the smaller size of `onnx::MatMul_7`"));
    }
}
