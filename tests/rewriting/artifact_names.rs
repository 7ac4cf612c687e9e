//! Names in artifacts for ONNX Runtime's training API, which tells by its name what an input or output is: whatever the
//! values of a model are called, artifacts are made that the runtime takes for what they are, or the name is refused.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::forward::{empty, graph, info, node, weight, write};
use crate::support::models;
use gnp::checkpoint::Checkpoint;
use gnp::emit::training::{Artifacts, Interface};
use gnp::loss::LossKind;
use gnp::onnx::proto::{GraphProto, ModelProto};
use gnp::onnx::{self, DataType, Model, WriteOptions};
use gnp::penalty::Warmup;
use gnp::rewrite::{StepOptions, TakenBy, make_artifacts};
use gnp::transform::{Optimizer, OptimizerKind};
use gnp::weights::Selection;
use proptest::prelude::*;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Names with a meaning to the runtime or to us, and names that would come to have one.
const NAMES: [&str; 24] = [
    "x",
    "y",
    "labels",
    "target",
    "loss",
    "step",
    "step.next",
    "lr",
    "w",
    "w.momentum",
    "w.momentum_grad",
    "w_grad",
    "w_grad.accumulation.buffer",
    "w_grad.accumulation.out",
    "b",
    "b.momentum",
    "b.square",
    "b_grad",
    "b_grad.accumulation.buffer",
    "b_grad.accumulation.out",
    "lazy_reset_grad",
    "gnp.r",
    "gnp/state/step",
    "gnp.grad_norm",
];

/// x·w + b, with a value between, by these names.
fn linear([x, w, b, between, y]: [&str; 5]) -> ModelProto {
    let mut model = empty();
    let graph = graph(&mut model);
    graph.input = vec![info(x, DataType::Float, "batch,4")];
    graph.node = vec![node("MatMul", &[x, w], between), node("Add", &[between, b], y)];
    graph.initializer = vec![weight(w, &[4, 3]), weight(b, &[3])];
    graph.output = vec![info(y, DataType::Float, "batch,3")];
    model
}

#[derive(Debug, PartialEq)]
enum Kind {
    User,
    Parameter,
    Gradient,
    Reset,
}

/// What the runtime takes an input for.
fn kind(name: &str, checkpoint: &Checkpoint) -> Kind {
    let is_gradient = |name: &str| {
        ["_grad", "_grad.accumulation.buffer", "_grad.accumulation.out"].iter().any(|suffix| name.ends_with(suffix))
    };
    match name {
        name if checkpoint.trainable.contains_key(name) || checkpoint.frozen.contains_key(name) => Kind::Parameter,
        "lazy_reset_grad" => Kind::Reset,
        name if is_gradient(name) => Kind::Gradient,
        _ => Kind::User,
    }
}

fn inputs(model: &Model) -> Vec<&str> {
    model.graph.input.iter().map(|input| input.name()).collect()
}

/// Checks that every value is defined once.
fn assert_unique(graph: &GraphProto) {
    let inputs = graph.input.iter().map(|input| input.name());
    let made = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).filter(|name| !name.is_empty());
    let mut names = HashSet::new();
    for name in inputs.chain(graph.initializer.iter().map(|tensor| tensor.name())).chain(made) {
        assert!(names.insert(name), "`{name}` is defined twice");
    }
}

/// Checks that the runtime takes everything for what it is.
fn assert_taken_as_meant(artifacts: &Artifacts, interface: &Interface) {
    let Artifacts { training, eval, checkpoint, .. } = artifacts;
    assert_unique(&training.graph);
    assert_unique(&eval.graph);
    let names = inputs(training);
    let of =
        |wanted: Kind| -> Vec<&str> { names.iter().copied().filter(|name| kind(name, checkpoint) == wanted).collect() };
    let (users, parameters, gradients) = (of(Kind::User), of(Kind::Parameter), of(Kind::Gradient));
    assert_eq!(names, [&users[..], &parameters, &gradients, &["lazy_reset_grad"]].concat());

    assert_eq!(users[1], "labels");
    let numbers = &users[2..];
    assert_eq!(numbers.contains(&"gnp.r"), interface.expose_r, "{numbers:?}");
    assert!(numbers.iter().all(|name| name.starts_with("gnp.")), "{numbers:?}");
    assert_eq!(parameters.len(), checkpoint.trainable.len() + checkpoint.frozen.len());
    let trainable: Vec<_> = parameters.iter().filter(|name| checkpoint.trainable.contains_key(**name)).collect();
    let with = |suffix: &str| trainable.iter().map(|name| format!("{name}{suffix}")).collect::<Vec<_>>();
    assert_eq!(gradients, with("_grad.accumulation.buffer"));

    let outputs: Vec<&str> = training.graph.output.iter().map(|output| output.name()).collect();
    let (seen, hidden) = outputs.split_at(outputs.len() - trainable.len());
    assert_eq!(hidden, with("_grad.accumulation.out"));
    assert!(seen.iter().all(|name| kind(name, &Checkpoint::default()) == Kind::User), "{seen:?}");
    assert_eq!(
        (seen[0], seen.len()),
        ("loss", 1 + usize::from(!interface.loss_alone) + 4 * usize::from(interface.metrics))
    );

    assert_eq!(inputs(eval), [&users[..2], &parameters].concat());
    let hidden = eval
        .graph
        .output
        .iter()
        .map(|output| output.name())
        .find(|name| kind(name, &Checkpoint::default()) != Kind::User);
    assert_eq!(hidden, None);
}

fn interface() -> impl Strategy<Value = Interface> {
    any::<[bool; 5]>().prop_map(|[expose_r, expose_alpha, expose_others, metrics, loss_alone]| Interface {
        expose_r,
        expose_alpha,
        expose_others,
        metrics,
        loss_alone,
    })
}

fn optimizer() -> impl Strategy<Value = OptimizerKind> {
    use OptimizerKind::{Adam, AdamW, Momentum, RmsProp, Sgd};
    prop_oneof![Just(Sgd), Just(Momentum), Just(Adam), Just(AdamW), Just(RmsProp)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_runtime_takes_every_name_as_it_is_meant(
        names in Just(NAMES.to_vec()).prop_shuffle(),
        interface in interface(),
        kind in optimizer(),
        is_warmed_up in any::<bool>(),
        by_graph in any::<bool>(),
    ) {
        let names: [&str; 5] = names[..5].try_into().unwrap();
        let model = Model::new(linear(names), "model.onnx").unwrap();
        let options = StepOptions {
            loss: LossKind::Mse.into(),
            optimizer: Optimizer { kind, ..Optimizer::default() },
            warmup: if is_warmed_up { Warmup::R } else { Warmup::None },
            warmup_steps: 9,
            selection: Selection { train: names[1..3].iter().map(|&name| name.to_owned()).collect(), ..Selection::default() },
            ..StepOptions::default()
        };
        let by = if by_graph { TakenBy::Graph } else { TakenBy::Runtime };
        match make_artifacts(model, &options, &interface, by) {
            Ok((artifacts, _)) => assert_taken_as_meant(&artifacts, &interface),
            Err(error) => {
                prop_assert_eq!(error.exit_code(), 2, "{}", error);
                let said = error.to_string();
                prop_assert!(names.iter().any(|name| said.contains(&format!("`{name}`"))), "{}", error);
                prop_assert!(error.help_text().is_some_and(|help| help.contains("--rename")), "{}", error);
            }
        }
    }
}

/// A name that is in the way is refused, and the flag that is named helps.
#[test]
fn a_name_that_is_in_the_way_is_given_another() {
    let ordinary = ["x", "w", "b", "between", "y"];
    let cases = [
        (0, "x_grad", "the model has an input `x_grad`, which ONNX Runtime takes for a gradient"),
        (0, "lazy_reset_grad", "the model has an input `lazy_reset_grad`, which ONNX Runtime takes for a gradient"),
        (0, "step", "the model has an input `step`, which in a step model means something else"),
        (3, "w.momentum", "the model has a value `w.momentum`, and the training model needs the name"),
        (3, "w_grad.accumulation.buffer", "the training model needs the name"),
        (3, "b_grad.accumulation.out", "the training model needs the name"),
        (1, "lazy_reset_grad", "the training model needs the name"),
        (4, "y_grad", "the model has an output `y_grad`, which ONNX Runtime takes for a gradient"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (place, name, says) in cases {
        let mut names = ordinary;
        names[place] = name;
        let model = write(&linear(names), &folder.path().join("model.onnx"));
        let command = |more: &[&str]| {
            let mut command = gnp_rewrite();
            command.arg(&model).args(["--emit", "ort-training", "--loss", "mse", "--quiet", "--force", "-o"]);
            command.arg(folder.path().join("out")).args(more);
            command
        };
        let said = refusal(&mut command(&[]));
        assert_says(&said, &[says]);
        let flag = said.split("--rename '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
        command(&["--rename", flag]).assert().success();
    }
    // These make way by themselves.
    for (place, name) in [(1, "step"), (3, "step"), (3, "labels"), (4, "loss"), (3, "w_grad"), (1, "w_grad")] {
        let mut names = ordinary;
        names[place] = name;
        let model = write(&linear(names), &folder.path().join("model.onnx"));
        let mut command = gnp_rewrite();
        command.arg(&model).args(["--emit", "ort-training", "--loss", "mse", "--quiet", "--force", "-o"]);
        command.arg(folder.path().join("out")).assert().success();
    }
}

/// A copy of the MLP's artifacts whose training model has been edited.
fn edited(folder: &Path, edit: impl FnOnce(&mut GraphProto)) -> PathBuf {
    let artifacts = folder.join("artifacts");
    fs::create_dir_all(&artifacts).unwrap();
    for name in ["eval_model.onnx", "optimizer_model.onnx", "checkpoint"] {
        fs::copy(models().join("mlp").join(name), artifacts.join(name)).unwrap();
    }
    let mut model = onnx::read(models().join("mlp/training_model.onnx")).unwrap();
    edit(&mut model.graph);
    let options = WriteOptions { force: true, ..WriteOptions::default() };
    onnx::write(model, artifacts.join("training_model.onnx"), &options).unwrap();
    artifacts
}

#[test]
fn a_name_in_existing_artifacts_that_is_needed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["fc1.weight.momentum", "step", "gnp.momentum", "gnp.warmup_steps"] {
        let artifacts = edited(folder.path(), |graph| {
            let old = graph.node[0].output[0].clone();
            for node in &mut graph.node {
                let names = node.input.iter_mut().chain(&mut node.output);
                names.filter(|value| **value == old).for_each(|value| *value = name.into());
            }
        });
        let mut command = gnp_rewrite();
        command.arg(artifacts).arg("-o").arg(folder.path().join("out"));
        command.args(["--optimizer", "momentum", "--gr-warmup", "zero", "--gr-warmup-steps", "5"]);
        let value = format!("training_model.onnx: the training model has a value `{name}`");
        assert_says(&refusal(&mut command), &[&value, "make the artifacts again"]);
        assert!(!folder.path().join("out").exists());
    }
}
