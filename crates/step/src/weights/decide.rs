//! The decision: which constants train, and why.
//!
//! In this order: what the user says; what the exporter recorded; what the elements tell of masks and the like; the
//! place in the graph, with the name as further evidence. Where these contradict each other, or there are none, a
//! constant is *undecided*: something is done, and said.

use super::names::{self, Name};
use super::record::{Kind, Record, Source};
use super::roles::{self, InLoss, Role, Roles, Use};
use super::values::{Elements, Mask, Values};
use super::verdict::{Place, Reason, Verdict};
use super::{Selection, lora, selection};
use foldhash::HashSet;
use gnp_base::{Error, Result};
use gnp_model::composite;
use gnp_model::graph::Graph;
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::TensorProto;
use std::cmp::Reverse;
use std::path::Path;

/// What is known of a model beside its graph.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'m> {
    /// What its exporter recorded.
    pub record: Option<&'m Record>,
    /// The program that wrote it.
    pub producer: &'m str,
    /// The folder that its external data is relative to.
    pub folder: &'m Path,
    /// The scalar that is its loss, where it computes that itself.
    pub loss: Option<&'m str>,
    /// The constants that were tables of angles before operators were written out.
    pub angles: &'m HashSet<String>,
    /// The constants that the file has no tensor for.
    pub made: &'m HashSet<String>,
    /// Adapters that were put into it: where there are any, they train, and of all else what the user names.
    pub adapters: &'m [String],
}

/// Which float32 constants of `graph`, which has been normalised, train; all of them, in the file's order.
///
/// # Errors
/// Where a glob of `selection` matches nothing, nothing trains, or external data cannot be read.
pub fn decide(graph: &Graph, evidence: &Evidence<'_>, selection: &Selection) -> Result<Vec<Verdict>> {
    let initializers = &graph.proto().initializer;
    let inputs: HashSet<&str> = graph.proto().input.iter().map(|input| input.name()).collect();
    let may_train = |tensor: &&TensorProto| {
        let name = tensor.name();
        let is_made = composite::made(name) || evidence.made.contains(name);
        let is_other = inputs.contains(name) || name.starts_with(lora::FACTORS) || is_made;
        tensor.element() == Some(DataType::Float) && !is_other
    };
    let floats: Vec<&TensorProto> = initializers.iter().filter(may_train).collect();
    let names: Vec<&str> = floats.iter().map(|tensor| tensor.name()).collect();
    let flags = selection::Matchers::of(selection, &names)?;
    let roles = Roles::of(graph, evidence.loss);
    let names_parameters = names
        .iter()
        .any(|name| names::tells(name) == Name::Parameter && strongest(roles.of_constant(name)).is_a_weights());
    let adapters: HashSet<&str> = evidence.adapters.iter().map(String::as_str).collect();
    let mut judge = Judge { evidence, roles: &roles, names_parameters, values: Values::in_folder(evidence.folder) };
    let mut verdicts = Vec::with_capacity(floats.len());
    for tensor in floats {
        let flag = flags.of_constant(tensor.name());
        let is_named = flag.is_some_and(|(_, flag)| flag != selection::UNNAMED);
        let (trains, reason, undecided) = match flag {
            // What follows the batches has no gradient.
            Some((true, _)) if strongest(roles.of_constant(tensor.name())).role == Role::Statistic => {
                stays(Reason::Statistic)
            }
            _ if !is_named && adapters.contains(tensor.name()) => trains(Reason::Adapter),
            _ if !is_named && !adapters.is_empty() => stays(Reason::Adapted),
            Some((trains, flag)) => (trains, Reason::Flag(flag), false),
            None => judge.verdict(tensor)?,
        };
        verdicts.push(Verdict {
            name: tensor.name().to_owned(),
            shape: tensor.dims.clone(),
            trains,
            reason,
            undecided,
        });
    }
    if verdicts.iter().any(|verdict| verdict.trains) {
        return Ok(verdicts);
    }
    Err(nothing_trains(graph, &verdicts))
}

fn nothing_trains(graph: &Graph, verdicts: &[Verdict]) -> Error {
    let mut elements = graph.proto().initializer.iter().filter_map(TensorProto::element);
    let classical = graph.nodes().iter().find(|node| node.domain() == "ai.onnx.ml");
    let error = Error::input("no trainable parameter: expected float32 weights among the graph's constants");
    if verdicts.iter().any(|v| matches!(v.reason, Reason::Flag("--freeze"))) {
        error.help("--freeze names all that train; leave some out of it")
    } else if !verdicts.is_empty() && !roles::has_weights_as_inputs(graph) {
        let names = verdicts.iter().map(|verdict| verdict.name.as_str());
        error.help(format!("name what trains: --train GLOB; {}", gnp_base::choice::nearest("", names)))
    } else if let Some(node) = classical {
        error.help(format!(
            "operators of ai.onnx.ml, such as {}, hold their numbers in attributes, which do not train; write the model with MatMul and Add",
            node.op_type()
        ))
    } else if elements.any(|e| e.is_floating() && e != DataType::Float) {
        error.help("its constants of other floating types are no weights that its float32 nodes compute with")
    } else {
        error.help(
            "where the weights are inputs, as in the eval_model.onnx of training artifacts, give the folder of the artifacts or \
             their training_model.onnx; else export the model with its weights in it",
        )
    }
}

/// What is decided of a constant: whether it trains, why, and whether that is a guess.
type Decision = (bool, Reason, bool);

const fn trains(reason: Reason) -> Decision {
    (true, reason, false)
}

const fn stays(reason: Reason) -> Decision {
    (false, reason, false)
}

fn undecided((trains, reason, _): Decision) -> Decision {
    (trains, reason, true)
}

/// The place that says most of a constant.
fn strongest<'g>(uses: &[Use<'g>]) -> Use<'g> {
    let key = |place: &&Use| (Reverse(place.in_loss), place.is_a_weights(), place.role);
    uses.iter().max_by_key(key).cloned().unwrap_or(Use::nowhere())
}

struct Judge<'a, 'g> {
    evidence: &'a Evidence<'a>,
    roles: &'a Roles<'g>,
    /// Whether constants that surely are weights have the names of parameters, so that a name tells something.
    names_parameters: bool,
    values: Values,
}

impl Judge<'_, '_> {
    fn verdict(&mut self, tensor: &TensorProto) -> Result<Decision> {
        let name = tensor.name();
        let uses = self.roles.of_constant(name);
        if let Some(decision) = self.recorded(name, uses) {
            return Ok(decision);
        }
        if uses.is_empty() {
            return Ok(stays(Reason::Unreached));
        }
        if self.evidence.angles.contains(name) {
            return Ok(stays(Reason::Setting("RotaryEmbedding".into())));
        }
        let place = strongest(uses);
        if place.role == Role::Statistic {
            return Ok(stays(Reason::Statistic));
        }
        if let Some(decision) = self.of_loss(name, &place) {
            return Ok(decision);
        }
        match place.role {
            Role::Setting => Ok(stays(Reason::Setting(place.operator.to_owned()))),
            Role::Frequency if names::tells(name) == Name::Parameter => Ok(trains(by_place(name, &place))),
            Role::Frequency => Ok(stays(Reason::Frequency)),
            Role::BeforeWeights => Ok(before_weights(tensor)),
            Role::Moment if tensor.element_count() > 1 => Ok(stays(Reason::Moment)),
            _ if place.is_a_weights() => self.in_a_weights_place(tensor, &place),
            _ => self.beside_what_is_learned(tensor, &place),
        }
    }

    /// What the exporter recorded, where that decides.
    fn recorded(&self, name: &str, uses: &[Use<'_>]) -> Option<Decision> {
        let record = self.evidence.record?;
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        match record.source(name) {
            Source::Tensor(Kind::Parameter) => Some(trains(Reason::Recorded(Kind::Parameter))),
            Source::Tensor(_) if uses.iter().any(|place| place.role == Role::Statistic) => {
                Some(stays(Reason::Statistic))
            }
            Source::Tensor(kind) => Some(stays(Reason::Recorded(kind))),
            Source::Made(parameters) if record.is_rearranged(name) => {
                Some(trains(Reason::Rearranged(owned(parameters))))
            }
            Source::Made(parameters) => Some(trains(Reason::Computed(owned(parameters)))),
            Source::Changed => Some(trains(Reason::Folded)),
            Source::Literal => Some(stays(Reason::Recorded(Kind::Constant))),
            // The exporter writes nothing beside what it makes up itself; another program may have been at the file
            // since.
            Source::Unknown if strongest(uses).is_a_weights() => None,
            Source::Unknown => Some(stays(Reason::Recorded(Kind::Constant))),
        }
    }

    fn of_loss(&self, name: &str, place: &Use<'_>) -> Option<Decision> {
        let reason = || Reason::Loss(self.roles.labels.first().map(|&labels| labels.to_owned()));
        match place.in_loss {
            InLoss::No => None,
            InLoss::Perhaps if names::tells(name) == Name::Parameter => None,
            InLoss::Perhaps => Some(undecided(stays(Reason::Loss(None)))),
            InLoss::Yes => Some(stays(reason())),
        }
    }

    fn in_a_weights_place(&mut self, tensor: &TensorProto, place: &Use<'_>) -> Result<Decision> {
        let (name, elements) = (names::tells(tensor.name()), self.values.of(tensor)?);
        let fill = elements.as_ref().and_then(Elements::fill);
        let is_neutral = match place.role {
            Role::NormScale => fill == Some(1.0),
            Role::NormShift => fill == Some(0.0),
            _ => false,
        };
        let by_place = trains(by_place(tensor.name(), place));
        Ok(match name {
            Name::Parameter | Name::Computed => by_place,
            Name::Literal if is_neutral => stays(Reason::NoAffine),
            _ if place.role == Role::Bias && tensor.dims.is_empty() && fill == Some(0.0) => stays(Reason::NoBias),
            Name::Literal if tensor.element_count() == 1 => stays(Reason::NamedLiteral),
            Name::Literal if self.names_parameters => undecided(stays(Reason::NamedLiteral)),
            Name::Buffer => undecided(stays(Reason::NamedBuffer)),
            _ if place.role == Role::Weight
                && tensor.dims.len() > 2
                && elements.as_ref().is_some_and(Elements::repeats_one_slice) =>
            {
                undecided(stays(Reason::OneFilter))
            }
            _ if elements.as_ref().is_some_and(Elements::is_sinusoid) => undecided(stays(Reason::Sinusoid)),
            Name::Silent if is_neutral && !self.is_module_tensor(tensor.name()) => undecided(by_place),
            _ => by_place,
        })
    }

    fn beside_what_is_learned(&mut self, tensor: &TensorProto, place: &Use<'_>) -> Result<Decision> {
        let name = names::tells(tensor.name());
        let by_place = trains(by_place(tensor.name(), place));
        if tensor.element_count() <= 1 {
            return Ok(match name {
                Name::Parameter => by_place,
                Name::Literal => stays(Reason::NamedLiteral),
                Name::Buffer => stays(Reason::NamedBuffer),
                // Literals have other names in such a file.
                Name::Silent if self.is_module_tensor(tensor.name()) => undecided(by_place),
                Name::Computed if !tensor.name().starts_with("onnx::") => stays(Reason::OneNumber),
                Name::Silent | Name::Computed => undecided(stays(Reason::OneNumber)),
            });
        }
        let elements = self.values.of(tensor)?;
        match elements.as_ref().and_then(Elements::mask) {
            Some(Mask::Additive) => return Ok(stays(Reason::Mask)),
            Some(Mask::Multiplicative) if name != Name::Parameter || place.through.is_some() => {
                return Ok(stays(Reason::Mask));
            }
            _ => {}
        }
        Ok(match name {
            Name::Parameter | Name::Computed => by_place,
            Name::Literal => stays(Reason::NamedLiteral),
            Name::Buffer => stays(Reason::NamedBuffer),
            Name::Silent if elements.as_ref().is_some_and(Elements::is_sinusoid) => undecided(stays(Reason::Sinusoid)),
            Name::Silent => undecided(by_place),
        })
    }

    /// Whether the name is one that PyTorch's TorchScript exporter gives to parameters and buffers alone.
    fn is_module_tensor(&self, name: &str) -> bool {
        self.evidence.producer == "pytorch" && !name.starts_with('/') && !name.bytes().all(|b| b.is_ascii_digit())
    }
}

/// A constant that meets the data before any weight does. A table of more axes than one may hold positions.
fn before_weights(tensor: &TensorProto) -> Decision {
    let is_vector = tensor.dims.iter().filter(|&&size| size != 1).count() <= 1;
    match names::tells(tensor.name()) {
        Name::Parameter if tensor.element_count() > 1 => {
            undecided(trains(Reason::Place(Place::Operand, "the input".into(), false)))
        }
        Name::Silent if !is_vector => undecided(stays(Reason::BeforeWeights)),
        _ => stays(Reason::BeforeWeights),
    }
}

fn by_place(name: &str, place: &Use<'_>) -> Reason {
    let kind = match place.role {
        role if role.is_strong() && place.through.is_some() => Place::Part,
        Role::Table => Place::Table,
        Role::NormScale | Role::NormShift => Place::Norm,
        Role::Bias => Place::Bias,
        Role::Weight | Role::Frequency => Place::Weight,
        Role::Input => Place::Input,
        Role::Statistic | Role::Moment | Role::Setting | Role::BeforeWeights | Role::Operand => Place::Operand,
    };
    // A weight of a linear map is transposed by the exporter, no more, where the operator does not do so; one of a
    // recurrent layer has its gates in another order.
    let is_moved = match place.operator {
        "MatMul" | "Gemm" => !place.is_transposed,
        operator => matches!(operator, "LSTM" | "GRU" | "RNN"),
    };
    let is_moved = kind == Place::Weight && is_moved || names::is_rearranged(name);
    let is_computed = names::tells(name) == Name::Computed && !is_moved;
    Reason::Place(kind, place.operator.to_owned(), is_computed)
}

/// Of the constants that were to train, those called `reached` do: the loss depends on no other.
pub fn keep_reached(verdicts: &mut [Verdict], reached: &[String]) {
    let reached: HashSet<&str> = reached.iter().map(String::as_str).collect();
    for verdict in verdicts.iter_mut().filter(|verdict| verdict.trains && !reached.contains(verdict.name.as_str())) {
        (verdict.trains, verdict.reason, verdict.undecided) = (false, Reason::Unreached, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto};
    use gnp_model::testing::{TestNode, body, node};

    fn constant(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        TensorProto::raw(name, DataType::Float, dims, bytes.into())
    }

    fn weight(name: &str) -> TensorProto {
        constant(name, &[2, 2], &[0.5, -0.25, 1.5, 0.75])
    }

    fn evidence<'m>(producer: &'m str, none: &'m HashSet<String>) -> Evidence<'m> {
        let folder = Path::new(".");
        Evidence { record: None, producer, folder, loss: None, angles: none, made: none, adapters: &[] }
    }

    /// What is decided of the constants of a graph from `x` to `y`.
    fn judged(
        nodes: &[TestNode],
        initializer: Vec<TensorProto>,
        producer: &str,
        selection: &Selection,
    ) -> Vec<Verdict> {
        let graph = Graph::new(GraphProto { initializer, ..body(&["x"], nodes, &["y"]) }).unwrap();
        let none = HashSet::default();
        let evidence = evidence(producer, &none);
        decide(&graph, &evidence, selection).unwrap()
    }

    #[track_caller]
    fn assert_judged(nodes: &[TestNode], constants: Vec<TensorProto>, expected: &[(&str, bool, bool)]) {
        let verdicts = judged(nodes, constants, "pytorch", &Selection::default());
        let found: Vec<_> = verdicts.iter().map(|v| (v.name.as_str(), v.trains, v.undecided)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn elements_and_names_tell_what_stands_beside_something_learned() {
        let vectors = [
            ("fc.weight", &[0.5, -0.25, 1.5, 0.75][..], &[2, 2][..]),
            ("/Constant_output_0", &[1.0, 2.0], &[2]),
            ("onnx::Add_7", &[1.0, 2.0], &[2]),
            ("shift.mask", &[1.0, 2.0], &[2]),
            ("hidden", &[0.0, f32::NEG_INFINITY], &[2]),
            ("w", &[1.0, 2.0], &[2]),
            ("norm.gamma", &[1.0, 1.0], &[2]),
            ("logit_scale", &[2.0], &[]),
            ("/Constant_1_output_0", &[2.0], &[]),
            ("g", &[2.0], &[1]),
        ];
        let mut nodes = vec![node("MatMul", &["x", "fc.weight"], &["h1"])];
        for (i, (name, ..)) in vectors.iter().enumerate().skip(1) {
            nodes.push(node("Mul", &[&format!("h{i}"), name], &[&format!("h{}", i + 1)]));
        }
        nodes.push(node("Identity", &["h10"], &["y"]));
        let constants = vectors.iter().map(|(name, values, dims)| constant(name, dims, values)).collect();
        let expected = [
            ("fc.weight", true, false),
            ("/Constant_output_0", false, false),
            ("onnx::Add_7", true, false),
            ("shift.mask", false, false),
            ("hidden", false, false),
            ("w", true, true),
            ("norm.gamma", true, false),
            ("logit_scale", true, false),
            ("/Constant_1_output_0", false, false),
            ("g", true, true),
        ];
        assert_judged(&nodes, constants, &expected);
    }

    #[test]
    fn a_normalisation_without_parameters_has_none() {
        let nodes = [
            node("MatMul", &["x", "fc.weight"], &["h"]),
            node("LayerNormalization", &["h", "/n/Constant_output_0", "/n/Constant_1_output_0"], &["n"]),
            node("LayerNormalization", &["n", "norm.weight", "norm.bias"], &["y"]),
        ];
        let (ones, zeros) = (&[1.0, 1.0], &[0.0, 0.0]);
        let constants = vec![
            weight("fc.weight"),
            constant("/n/Constant_output_0", &[2], ones),
            constant("/n/Constant_1_output_0", &[2], zeros),
            constant("norm.weight", &[2], ones),
            constant("norm.bias", &[2], zeros),
        ];
        let verdicts = judged(&nodes, constants, "pytorch", &Selection::default());
        let trained: Vec<bool> = verdicts.iter().map(|verdict| verdict.trains).collect();
        assert_eq!(trained, [true, false, false, true, true]);
        assert_eq!(verdicts[1].reason, Reason::NoAffine);
    }

    #[test]
    fn a_zero_without_an_axis_is_no_bias() {
        let nodes = [node("Gemm", &["x", "w", "c"], &["h"]), node("Gemm", &["h", "v", "d"], &["y"])];
        let constants = vec![weight("w"), weight("v"), constant("c", &[], &[0.0]), constant("d", &[2], &[0.0, 0.0])];
        let expected = [("w", true, false), ("v", true, false), ("c", false, false), ("d", true, false)];
        assert_judged(&nodes, constants, &expected);
    }

    #[test]
    fn what_the_exporter_left_to_the_operator_to_transpose_it_computed() {
        let transposed = AttributeProto::int("transB", 1);
        let gemm = |x, weight, y, attribute| NodeProto { attribute, ..node("Gemm", &[x, weight], &[y]).into() };
        let nodes = [gemm("x", "onnx::Gemm_1", "h", vec![]), gemm("h", "onnx::Gemm_2", "y", vec![transposed])];
        let nodes = nodes.map(TestNode::from);
        let constants = vec![weight("onnx::Gemm_1"), weight("onnx::Gemm_2")];
        let verdicts = judged(&nodes, constants, "pytorch", &Selection::default());
        let is_computed: Vec<_> =
            verdicts.iter().map(|v| (v.trains, matches!(v.reason, Reason::Place(Place::Weight, _, true)))).collect();
        assert_eq!(is_computed, [(true, false), (true, true)]);
    }

    #[test]
    fn a_literal_is_a_weight_only_where_weights_have_no_names() {
        let nodes = [node("MatMul", &["x", "a"], &["h"]), node("MatMul", &["h", "/Constant_output_0"], &["y"])];
        let constants = |first: &str| {
            let mut nodes = nodes.to_vec();
            nodes[0] = node("MatMul", &["x", first], &["h"]);
            judged(&nodes, vec![weight(first), weight("/Constant_output_0")], "pytorch", &Selection::default())
        };
        let beside_names = &constants("fc.weight")[1];
        assert!(!beside_names.trains && beside_names.undecided);
        let alone = &constants("/Constant_1_output_0")[1];
        assert!(alone.trains && !alone.undecided);
    }

    #[test]
    fn filters_of_a_layer_without_parameters_are_a_guess() {
        let nodes = [node("Conv", &["x", "a.weight"], &["h"]), node("Conv", &["h", "blurring"], &["y"])];
        let filter = [1.0, 2.0, 1.0, 2.0];
        let constants = vec![weight("a.weight"), constant("blurring", &[2, 1, 1, 2], &filter)];
        assert_judged(&nodes, constants, &[("a.weight", true, false), ("blurring", false, true)]);
    }

    #[test]
    fn frequencies_are_no_weights() {
        let nodes = [
            node("MatMul", &["x", "onnx::Expand_1"], &["a"]),
            node("Transpose", &["a"], &["b"]),
            node("Concat", &["b", "b"], &["angles"]),
            node("Cos", &["angles"], &["cos"]),
            node("Sin", &["angles"], &["sin"]),
            node("Mul", &["cos", "sin"], &["c"]),
            node("MatMul", &["c", "onnx::MatMul_2"], &["d"]),
            node("Sin", &["d"], &["e"]),
            node("MatMul", &["e", "onnx::MatMul_3"], &["f"]),
            node("Sin", &["f"], &["g"]),
            node("Cos", &["f"], &["h"]),
            node("Mul", &["g", "h"], &["y"]),
        ];
        let constants = ["onnx::Expand_1", "onnx::MatMul_2", "onnx::MatMul_3"].map(weight).to_vec();
        let expected =
            [("onnx::Expand_1", false, false), ("onnx::MatMul_2", true, false), ("onnx::MatMul_3", true, false)];
        assert_judged(&nodes, constants, &expected);
        let named = nodes.map(|node| {
            let mut node = NodeProto::from(node);
            node.input.iter_mut().filter(|name| *name == "onnx::Expand_1").for_each(|name| *name = "b.weight".into());
            TestNode::from(node)
        });
        let constants = ["b.weight", "onnx::MatMul_2", "onnx::MatMul_3"].map(weight).to_vec();
        assert!(judged(&named, constants, "pytorch", &Selection::default())[0].trains);
    }

    #[test]
    fn flags_take_precedence() {
        let nodes = [
            node("Mul", &["x", "scale"], &["a"]),
            node("MatMul", &["a", "fc.weight"], &["b"]),
            node("MatMul", &["b", "head.weight"], &["y"]),
        ];
        let constants = vec![constant("scale", &[2], &[1.0, 2.0]), weight("fc.weight"), weight("head.weight")];
        let trained = |selection: Selection| -> Vec<String> {
            let verdicts = judged(&nodes, constants.clone(), "", &selection);
            verdicts.into_iter().filter(|v| v.trains).map(|v| format!("{}: {}", v.name, v.reason)).collect()
        };
        let globs = |glob: &str| vec![glob.to_owned()];
        let by_place = ["fc.weight: weight of MatMul", "head.weight: weight of MatMul"];
        assert_eq!(trained(Selection::default()), by_place);
        let also = Selection { also_train: globs("sc*"), ..Selection::default() };
        assert_eq!(trained(also), ["scale: --also-train", by_place[0], by_place[1]]);
        assert_eq!(trained(Selection { freeze: globs("fc*"), ..Selection::default() }), [by_place[1]]);
        let only = Selection { train: globs("*.weight"), freeze: globs("fc*"), ..Selection::default() };
        assert_eq!(trained(only), ["head.weight: --train"]);
    }

    #[test]
    fn a_glob_must_match_and_something_must_train() {
        let graph = Graph::new(GraphProto {
            initializer: vec![weight("w")],
            ..body(&["x"], &[node("MatMul", &["x", "w"], &["y"])], &["y"])
        });
        let graph = graph.unwrap();
        let none = HashSet::default();
        let evidence = evidence("", &none);
        let refused = |selection: Selection| decide(&graph, &evidence, &selection).unwrap_err();
        let error = refused(Selection { also_train: vec!["v".into()], ..Selection::default() });
        assert_eq!(error.to_string(), "--also-train v: no float constant of the graph has such a name");
        let error = refused(Selection { freeze: vec!["*".into()], ..Selection::default() });
        assert!(error.to_string().contains("no trainable parameter"), "{error}");
        assert!(error.help_text().unwrap().contains("--freeze names all that train"));
    }
}
