//! Steps in half precision beside those in single.
use crate::support::command::gnp_rewrite;
use crate::support::forward::{self, append, graph, info, node, perceptron, weight};
use crate::support::step::{self, batch, difference};
use crate::support::{models, python};

use gnp::engine::{Engine as _, EngineOptions, HalfPrecision, Ort, Rates, StepEngine, Tract, runtime};
use gnp::loss::LossKind;
use gnp::onnx::proto::NodeProto;
use gnp::onnx::{self, DataType, Model, WriteOptions};
use gnp::precision::{LossScale, Precision};
use gnp::rewrite::{StepOptions, make_artifacts, make_step};
use gnp::tensor::Tensor;
use gnp::transform::{Optimizer, OptimizerKind};
use ndarray::ArrayD;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The bits of fraction of float16, and of bfloat16: how far apart two neighbours are.
const FLOAT16: f64 = 1.0 / 1024.0;
const BFLOAT16: f64 = 1.0 / 128.0;

fn options(precision: Precision) -> StepOptions {
    let optimizer = Optimizer { kind: OptimizerKind::Adam, ..Optimizer::default() };
    StepOptions { loss: LossKind::CrossEntropy.into(), optimizer, precision, ..StepOptions::default() }
}

fn plain_descent(precision: Precision) -> StepOptions {
    let optimizer = Optimizer { kind: OptimizerKind::Sgd, ..Optimizer::default() };
    StepOptions { optimizer, ..options(precision) }
}

fn written(forward: &Model, options: &StepOptions, path: PathBuf) -> PathBuf {
    let write = WriteOptions { force: true, ..WriteOptions::default() };
    onnx::write(make_step(forward.clone(), options).unwrap().0, &path, &write).unwrap();
    path
}

fn emulated() -> EngineOptions {
    EngineOptions { half: HalfPrecision::Emulated, ..EngineOptions::default() }
}

fn ort(forward: &Model, options: &StepOptions, folder: &Path) -> Ort {
    let step = step::read(&written(forward, options, folder.join("step.onnx")));
    Ort::load(&runtime::install_onnxruntime(&mut |_| {}).unwrap(), &step, None, &emulated()).unwrap()
}

fn linear(folder: &Path) -> Model {
    onnx::read(forward::write(&perceptron(), &folder.join("model.onnx"))).unwrap()
}

/// What a step returns, by name, and how far it moves each parameter.
fn step(engine: &mut dyn StepEngine, batch: &[Tensor], rates: &Rates) -> BTreeMap<String, f32> {
    let names = engine.step_outputs().to_vec();
    let returned = engine.step(batch, rates).unwrap();
    names.into_iter().zip(&returned).filter_map(|(name, tensor)| Some((name, tensor.to_scalar()?))).collect()
}

fn nodes(model: &Model) -> Vec<NodeProto> {
    fn add(nodes: &[NodeProto], all: &mut Vec<NodeProto>) {
        for node in nodes {
            all.push(node.clone());
            node.subgraphs().for_each(|body| add(&body.node, all));
        }
    }
    let mut all = Vec::new();
    add(&model.graph.node, &mut all);
    model.header.functions.iter().for_each(|function| add(&function.node, &mut all));
    all
}

fn casts_to(model: &Model, element: DataType) -> usize {
    let to = |node: &&NodeProto| node.op_type() == "Cast" && node.int("to", 0) == i64::from(element as i32);
    nodes(model).iter().filter(to).count()
}

/// By the standard's own evaluator: the whole step, second pass and update, differs by the rounding alone.
#[test]
fn steps_are_those_of_float32_but_for_the_rounding() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let Some(python) = python::environment("onnx", &scripts.join("onnx-requirements.txt")) else { return };
    for name in ["mlp", "cnn", "vit"] {
        let folder = tempfile::tempdir().unwrap();
        let forward = onnx::read(models().join(name).join("model.onnx")).unwrap();
        let files = [Precision::Float32, Precision::Float16, Precision::Bfloat16].map(|precision| {
            // The gradient is finite at this scale.
            let loss_scale = (precision == Precision::Float16).then_some(LossScale::Dynamic(256.0));
            let options = StepOptions { flat: true, loss_scale, ..plain_descent(precision) };
            written(&forward, &options, folder.path().join(format!("{}.onnx", precision.name())))
        });
        let told = python::run(Command::new(&python).arg(scripts.join("precision.py")).args(&files));
        let told: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        println!("{name}: {told:?}");
        assert_eq!(told[0]["skipped"], 0.0);
        assert!(told[1]["skipped"].is_null());
        for (found, rounding) in told.iter().zip([FLOAT16, BFLOAT16]) {
            assert!(found["casts"].as_u64() > Some(4));
            assert!(found["loss"].as_f64().unwrap() < 4.0 * rounding, "{name}: {found}");
            let change = found["change"].as_f64().unwrap();
            // Something is rounded, and roundings of the layers add up.
            assert!(change > rounding / 256.0 && change < 16.0 * rounding, "{name}: {found}");
        }
    }
}

#[test]
fn onnx_runtime_trains_in_float16_as_in_float32() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = linear(folder.path());
    let losses = [Precision::Float32, Precision::Float16].map(|precision| {
        let mut engine = ort(&forward, &options(precision), folder.path());
        let rates = Rates { r: Some(0.1), ..Rates::new(0.05) };
        (0..40).map(|_| step(&mut engine, &batch(6, 0), &rates)["loss"]).collect::<Vec<_>>()
    });
    let [single, half] = &losses;
    assert!(half[39] < half[0] / 2.0, "{half:?}");
    for (single, half) in single.iter().zip(half) {
        assert!((single - half).abs() < 0.02 * single.abs() + 0.002, "{single} {half}");
    }
}

/// Gradients of float16 end at 65504: at this scale they are infinite.
#[test]
fn a_step_whose_gradient_overflows_changes_the_scale_alone() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = linear(folder.path());
    for kind in [OptimizerKind::Sgd, OptimizerKind::Adam, OptimizerKind::Nesterov] {
        let optimizer = Optimizer { kind, weight_decay: Some(0.1), clip_norm: Some(1.0), ..Optimizer::default() };
        let loss_scale = Some(LossScale::Dynamic(16_777_216.0));
        let options = StepOptions { optimizer, loss_scale, ..options(Precision::Float16) };
        let mut engine = ort(&forward, &options, folder.path());
        let rates = Rates { r: Some(0.1), ..Rates::new(0.1) };
        let (mut taken, mut unperturbed, mut scale) = (0, 0, 16_777_216.0f32);
        for number in 0..20 {
            let before = engine.state().unwrap();
            let told = step(&mut engine, &batch(4, number), &rates);
            assert_eq!(engine.not_finite(), None);
            assert_eq!(told["gnp.scaled_by"], scale);
            let after = engine.state().unwrap();
            if told["gnp.skipped"] == 1.0 {
                assert!(!told["gnp.mixed_grad_norm"].is_finite());
                if !told["gnp.grad_norm"].is_finite() {
                    assert_eq!(told["gnp.loss_perturbed"], told["loss"], "nothing is perturbed");
                    unperturbed += 1;
                }
                scale /= 2.0;
                taken = 0;
            } else {
                assert!(told["gnp.grad_norm"].is_finite() && told["gnp.loss_perturbed"] > told["loss"]);
                taken += 1;
            }
            for (name, tensor) in before.iter().filter(|(name, _)| !name.contains("scale") && *name != "step") {
                let is_the_same = difference(tensor, after.get(name).unwrap()) == 0.0;
                assert_eq!(is_the_same, told["gnp.skipped"] == 1.0, "{name}, step {number}");
            }
            assert_eq!(after.get("gnp.loss_scale").unwrap().to_scalar(), Some(scale));
            assert_eq!(after.get("gnp.loss_scale_steps").unwrap(), &Tensor::I64(ndarray::arr0(taken).into_dyn()));
        }
        assert!(scale < 16_777_216.0 && unperturbed > 0 && taken > 5, "{scale} {unperturbed} {taken}");
    }
}

#[test]
fn the_scale_grows_after_2000_steps_and_has_an_end() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut engine = ort(&linear(folder.path()), &options(Precision::Float16), folder.path());
    let first = Tensor::I64(ArrayD::zeros(vec![4]));
    for (scale, steps, next, count) in
        [(1024.0, 1998, 1024.0, 1999), (1024.0, 1999, 2048.0, 0), (16_777_216.0, 1999, 16_777_216.0, 0)]
    {
        // No scale is too large for a gradient of zero: all logits are surely right.
        let given = [
            ("fc2.weight".to_owned(), Tensor::F32(ArrayD::zeros(vec![8, 3]))),
            ("fc2.bias".to_owned(), Tensor::F32(ndarray::arr1(&[200.0, 0.0, 0.0]).into_dyn())),
            ("gnp.loss_scale".to_owned(), Tensor::scalar(scale)),
            ("gnp.loss_scale_steps".to_owned(), Tensor::I64(ndarray::arr0(steps).into_dyn())),
        ];
        let before = engine.state().unwrap();
        let state = before.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).chain(given);
        let state: BTreeMap<String, Tensor> = state.collect();
        engine.set_state(&state.into_iter().collect()).unwrap();
        step(&mut engine, &[batch(4, 0)[0].clone(), first.clone()], &Rates::new(0.0));
        let after = engine.state().unwrap();
        assert_eq!(after.get("gnp.loss_scale").unwrap().to_scalar(), Some(next));
        assert_eq!(after.get("gnp.loss_scale_steps").unwrap(), &Tensor::I64(ndarray::arr0(count).into_dyn()));
    }
}

#[test]
fn processors_without_kernels_are_refused() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = linear(folder.path());
    let runtime = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    for (precision, half) in [
        (Precision::Float16, HalfPrecision::Native),
        (Precision::Bfloat16, HalfPrecision::Native),
        (Precision::Bfloat16, HalfPrecision::Emulated),
    ] {
        let step = step::read(&written(&forward, &options(precision), folder.path().join("step.onnx")));
        let options = EngineOptions { half, ..EngineOptions::default() };
        for error in [
            Ort::load(&runtime, &step, None, &options).err().unwrap(),
            Ort::load_file(&runtime, &step, &options).err().unwrap(),
        ] {
            let told =
                format!("the step model computes in {}, for which ONNX Runtime has no kernels", precision.name());
            assert!(error.to_string().contains(&told), "{error}");
            assert!(error.help_text().is_some_and(|help| help.contains("--device cuda")), "{error}");
        }
        let error = Tract::load(&step, None, &options).err().unwrap().to_string();
        assert!(error.contains("half precision, for which tract has no kernels"), "{error}");
    }
}

/// −3.4e38 is no number of float16: scores that it is added to stay in single precision, as do products with it.
#[test]
fn masks_stay_in_range() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = perceptron();
    let wide = |name: &str| {
        let mut tensor = weight(name, &[3]);
        tensor.raw_data =
            Some([0.0, f32::MIN, f32::MIN].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>().into());
        tensor
    };
    append(&mut model, node("Add", &["logits", "mask"], "masked"), info("masked", DataType::Float, "batch,3"));
    graph(&mut model).initializer.push(wide("mask"));
    let forward = onnx::read(forward::write(&model, &folder.path().join("model.onnx"))).unwrap();
    let made = |precision| {
        let options = StepOptions { flat: true, ..options(precision) };
        let (step, _) = make_step(forward.clone(), &options).unwrap();
        let add = nodes(&step).into_iter().find(|node| node.input.iter().any(|input| input == "mask"));
        (add.map(|node| node.op_type().to_owned()), casts_to(&step, precision.half().unwrap()))
    };
    let (reads_mask, casts) = made(Precision::Float16);
    assert_eq!(reads_mask.as_deref(), Some("Add"));
    assert!(casts > 0);
    assert_eq!(made(Precision::Bfloat16).0.as_deref(), Some("Cast"), "bfloat16 has that number");
}

#[test]
fn a_check_loads_what_a_processor_can_compute() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for (precision, told) in [
        ("float16", "loads in ONNX Runtime"),
        ("bfloat16", "Not loaded: it computes in bfloat16, for which no engine has kernels on processors"),
    ] {
        let mut command = gnp_rewrite();
        command.arg(models().join("mlp/model.onnx")).args(["--loss", "cross-entropy", "--force", "--check"]);
        command.args(["--precision", precision, "-o"]).arg(folder.path().join("step.onnx"));
        let said = command.assert().success().get_output().clone();
        let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn float32_has_no_trace_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (step, _) = make_step(linear(folder.path()), &options(Precision::Float32)).unwrap();
    assert_eq!(casts_to(&step, DataType::Float16), 0);
    assert!(step.graph.input.iter().all(|input| !input.name().contains("scale")));
}

#[test]
fn artifacts_are_in_float32() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        make_artifacts(linear(folder.path()), &options(Precision::Float16), &Default::default(), Default::default());
    let error = made.err().unwrap().to_string();
    assert!(error.contains("--precision float16 is of a step model"), "{error}");
}
