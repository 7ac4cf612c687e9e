//! What we say of values against the standard's own shape inference, and against the arrays of its published cases.
use crate::support::{models, python};
use gnp::graph::{Dim, Fact, Facts};
use gnp::normalise::normalise;
use gnp::onnx::proto::tensor_shape_proto::dimension::Value as DimValue;
use gnp::onnx::proto::{NodeProto, ValueInfoProto, type_proto};
use gnp::onnx::{self, Model};
use gnp::shapes::analyse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A value of a model: its element type and the sizes of its axes, where they are known.
type Known = (i32, Vec<Option<i64>>);

/// The models that `infer.py` wrote into `folder`, with what it knows of their values.
fn oracle(folder: &Path) -> Option<BTreeMap<String, BTreeMap<String, Known>>> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/shapes");
    let python = python::environment("shapes", &scripts.join("requirements.txt"))?;
    let mut command = Command::new(python);
    command.arg(scripts.join("infer.py")).arg(folder);
    command.args(["mlp", "cnn", "vit"].map(|name| models().join(name).join("eval_model.onnx")));
    python::run(command.args(["--dim", "batch=4"]));
    Some(serde_json::from_slice(&fs::read(folder.join("shapes.json")).unwrap()).unwrap())
}

fn facts(model: &Model) -> Facts {
    let has_batch = model
        .graph
        .input
        .iter()
        .filter_map(Fact::declared)
        .any(|fact| fact.shape.is_some_and(|shape| shape.contains(&Dim::Symbol("batch".into()))));
    let bindings = if has_batch { BTreeMap::from([("batch".to_owned(), 4)]) } else { BTreeMap::new() };
    analyse(model, &bindings).unwrap()
}

/// Whether what we say of a shape may be so.
fn agrees(dims: &[Dim], sizes: &[Option<i64>]) -> bool {
    let may_be = |(dim, size): (&Dim, &Option<i64>)| dim.known().is_none_or(|known| size.is_none_or(|s| s == known));
    dims.len() == sizes.len() && dims.iter().zip(sizes).all(may_be)
}

/// Whether we know every size that is known.
fn covers(dims: &[Dim], sizes: &[Option<i64>]) -> bool {
    dims.iter().zip(sizes).all(|(dim, size)| size.is_none() || dim.known().is_some())
}

/// The numbers that texts of sizes stand for.
type Meaning = BTreeMap<String, i64>;

/// Puts a symbol in place of every number in the shapes of the inputs, and returns what they stand for.
fn make_symbolic(model: &mut Model) -> Meaning {
    let mut meaning = Meaning::new();
    for input in &mut model.graph.input {
        let name = input.name().to_owned();
        let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_mut().unwrap().value.as_mut() else {
            continue;
        };
        for (axis, dim) in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim).enumerate() {
            if let Some(DimValue::DimValue(size)) = dim.value {
                let symbol = format!("{name}_{axis}");
                dim.value = Some(DimValue::DimParam(symbol.clone()));
                meaning.insert(symbol, size);
            }
        }
    }
    meaning
}

/// Whether every size is what it may be, and the same wherever its text is the same.
fn means(meaning: &mut Meaning, dims: &[Dim], sizes: &[Option<i64>]) -> bool {
    let may_be = |(dim, size): (&Dim, &Option<i64>)| match (dim, size) {
        (Dim::Known(known), Some(size)) => known == size,
        (Dim::Symbol(text), Some(size)) => meaning.entry(text.to_string()).or_insert(*size) == size,
        _ => true,
    };
    dims.len() == sizes.len() && dims.iter().zip(sizes).all(may_be)
}

#[test]
fn we_know_what_onnx_knows_and_nothing_that_is_not_so() {
    let folder = tempfile::tempdir().unwrap();
    let (mut of_models, mut of_cases, mut known_of_cases, mut wrong) = (0, 0, 0, Vec::new());
    let Some(oracle) = oracle(folder.path()) else { return };
    for (name, values) in oracle {
        // An operator that we know nothing of leaves its output open; models have none of these.
        let is_case = name.starts_with("case-");
        let mut model = onnx::read(folder.path().join(&name)).unwrap();
        let plain = facts(&model);
        let mut normal = model.clone();
        let normal = normalise(&mut normal).ok().map(|_| facts(&normal));
        assert!(normal.is_some() || is_case, "{name}");
        let mut meaning = make_symbolic(&mut model);
        let symbolic = analyse(&model, &BTreeMap::new()).unwrap();

        for (value, (element, sizes)) in values {
            let mut check = |what, found: Option<&Fact>, is_right: &mut dyn FnMut(&[Dim]) -> bool| {
                let dims = found.and_then(|fact| fact.shape.as_deref());
                if found.is_some_and(|fact| fact.element as i32 != element) || !dims.is_none_or(is_right) {
                    wrong.push(format!("{what} {name}, `{value}`: {found:?}, but it is {element} {sizes:?}"));
                }
            };
            let is_known = |dims: &[Dim]| agrees(dims, &sizes) && (is_case || covers(dims, &sizes));
            check("in", plain.get(&value), &mut |dims| is_known(dims));
            check("normalised", normal.as_ref().and_then(|facts| facts.get(&value)), &mut |dims| is_known(dims));
            check("with symbols", symbolic.get(&value), &mut |dims| means(&mut meaning, dims, &sizes));

            let dims = plain.get(&value).and_then(|fact| fact.shape.as_deref());
            let is_known = dims.is_some_and(|dims| covers(dims, &sizes));
            assert!(is_known || is_case, "{name}, `{value}`");
            *(if is_case { &mut of_cases } else { &mut of_models }) += 1;
            known_of_cases += usize::from(is_case && is_known);
        }
    }
    println!("{of_models} values of models; {known_of_cases} of the {of_cases} outputs of published cases are known");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(of_models > 5000 && known_of_cases > 1500, "the oracle knows too little");
}

/// Operators of whose outputs the standard's inference says more than we do, and why.
const UNKNOWN_TO_US: [(&str, &str); 1] =
    [("OptionalGetElement", "what is there or not is no tensor, and we follow tensors alone")];

/// Operators of whose outputs it says what is not so: its own published arrays are of our sizes.
const UNLIKE_PUBLISHED: [(&str, &str); 1] = [("STFT", "it takes `onesided` for 0 where it is left out, and that is 1")];

/// What the fixture declares of a value, by name.
fn declared<'m>(infos: impl IntoIterator<Item = &'m ValueInfoProto>) -> BTreeMap<&'m str, Fact> {
    infos.into_iter().filter_map(|info| Some((info.name(), Fact::declared(info)?))).collect()
}

/// The number that N stands for in a node whose output this is: that of its twin with numbers alone.
fn meaning_of_n(output: &str, node: &NodeProto, inputs: &BTreeMap<&str, Fact>) -> Option<i64> {
    output.split_once("N/")?;
    let twin = node.input.iter().find(|input| inputs.contains_key(input.as_str()))?.replacen("N/", "/", 1);
    inputs.get(twin.as_str())?.dim(0)?.known()
}

#[test]
fn we_know_what_the_standard_infers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shapes");
    let (mut operators, mut sizes, mut wrong) = (BTreeSet::new(), 0, Vec::new());
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let mut model = onnx::read(&file).unwrap();
        let inferred = std::mem::take(&mut model.graph.value_info);
        let (inferred, inputs) = (declared(&inferred), declared(&model.graph.input));
        let found = analyse(&model, &BTreeMap::new()).unwrap();
        for (node, output) in model.graph.node.iter().flat_map(|node| node.output.iter().map(move |o| (node, o))) {
            let Some(expected) = inferred.get(output.as_str()) else { continue };
            if UNKNOWN_TO_US.iter().any(|(operator, _)| *operator == node.op_type()) {
                assert_eq!(found.get(output), None, "{} is no exception any more", node.op_type());
                continue;
            }
            if UNLIKE_PUBLISHED.iter().any(|(operator, _)| *operator == node.op_type()) {
                continue;
            }
            operators.insert(node.op_type().to_owned());
            let n = meaning_of_n(output, node, &inputs);
            let number = |dim: &Dim| match dim {
                Dim::Symbol(symbol) if &**symbol == "N" => n,
                dim => dim.known(),
            };
            // What inference does not know it makes a symbol up for.
            let knows = |ours: &Dim, theirs: &Dim| number(theirs).is_none() || number(ours) == number(theirs);
            let is_known = found.get(output).is_some_and(|ours| {
                let same = match (&ours.shape, &expected.shape) {
                    (Some(ours), Some(theirs)) => {
                        sizes += theirs.len();
                        ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| knows(ours, theirs))
                    }
                    (_, theirs) => theirs.is_none(),
                };
                ours.element == expected.element && same
            });
            if !is_known {
                let (file, ours) = (file.file_name().unwrap(), found.get(output));
                wrong.push(format!("{file:?}, {} `{}`: {ours:?}, not {expected:?}", node.op_type(), node.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(operators.len() > 180 && sizes > 7000, "{} operators, {sizes} sizes", operators.len());
}
