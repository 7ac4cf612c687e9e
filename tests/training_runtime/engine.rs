//! The engine of training artifacts: steps, state, and what it refuses.
use crate::support::{models, training_runtime};
use gnp::Result;
use gnp::contract::{R, Range};
use gnp::engine::ort_training::{Artifacts, Property};
use gnp::engine::runtime::{self, Kind, Runtime};
use gnp::engine::{Device, Engine as _, EngineOptions, OrtTraining, Rates};
use gnp::onnx::proto::ValueInfoProto;
use gnp::onnx::{self, Model, proto};
use gnp::tensor::{ElementType, Port, Tensor};
use ndarray::{Array1, Array2, Array3, ArrayD, Axis, IxDyn};
use ndarray_npy::ReadNpyExt;
use std::fs;
use std::path::Path;

const RATES: Rates = Rates::new(0.01);

fn artifacts(model: &str) -> Artifacts {
    Artifacts::in_folder(&models().join(model))
}

fn inputs() -> Vec<Port> {
    let labels = Port { ranges: vec![Range::up_to(9)], ..Port::new("labels", ElementType::I64, [None]) };
    vec![Port::new("input", ElementType::F32, [None, Some(64)]), labels]
}

fn try_load(artifacts: &Artifacts) -> Result<OrtTraining> {
    OrtTraining::load(&training_runtime(), artifacts, &EngineOptions::default())
}

fn mlp() -> OrtTraining {
    try_load(&artifacts("mlp")).unwrap()
}

/// `count` digits from the first on, as 64 pixels in [0, 1], and their labels.
fn digits(count: usize) -> Vec<Tensor> {
    let mut file = zip::ZipArchive::new(fs::File::open(models().join("digits.npz")).unwrap()).unwrap();
    let pixels = Array3::<u8>::read_npy(file.by_name("x_train.npy").unwrap()).unwrap();
    let labels = Array1::<u8>::read_npy(file.by_name("y_train.npy").unwrap()).unwrap();
    let pixels = pixels.mapv(|pixel| f32::from(pixel) / 16.0).into_shape_with_order((1000, 64)).unwrap();
    let rows: Vec<usize> = (0..count).collect();
    vec![
        Tensor::F32(pixels.select(Axis(0), &rows).into_dyn()),
        Tensor::I64(labels.mapv(i64::from).select(Axis(0), &rows).into_dyn()),
    ]
}

fn parameters(engine: &OrtTraining) -> Vec<Tensor> {
    ["fc1.weight", "fc1.bias", "fc2.weight", "fc3.bias"].map(|name| engine.parameter(name).unwrap()).to_vec()
}

#[test]
fn training_lowers_the_loss() {
    needs!(engines);
    let mut engine = mlp();
    assert_eq!(engine.batch_ports(), inputs());
    assert_eq!(engine.step_outputs().len(), 2);
    assert_eq!(engine.step_outputs()[1], "logits");
    assert_eq!(engine.evaluate_outputs()[1], "logits");
    let batch = digits(100);
    let before = engine.evaluate(&batch).unwrap();
    let first = engine.step(&batch, &RATES).unwrap();
    for _ in 0..20 {
        engine.step(&batch, &RATES).unwrap();
    }
    let after = engine.evaluate(&batch).unwrap();
    assert_eq!(before, first);
    assert_eq!((before[0].shape(), before[1].shape()), (&[][..], &[100, 10][..]));
    assert!(after[0].to_scalar().unwrap() < before[0].to_scalar().unwrap() / 4.0, "{:?} -> {:?}", before[0], after[0]);
}

#[test]
fn the_same_steps_give_the_same_bits() {
    needs!(engines);
    let run = || {
        let mut engine = mlp();
        let batch = digits(50);
        for _ in 0..10 {
            engine.step(&batch, &RATES).unwrap();
        }
        parameters(&engine)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_rehearsal_leaves_no_trace() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    // A trace would be in the accumulators, in the statistics, in what the optimizer counts.
    let mut bytes = Vec::new();
    for rehearsed in [false, true] {
        let mut engine = mlp();
        let batch = digits(50);
        if rehearsed {
            let told = engine.rehearse(&batch, &RATES).unwrap();
            engine.rehearse(&digits(7), &RATES).unwrap();
            assert_eq!(told, mlp().step(&batch, &RATES).unwrap());
            assert_eq!(parameters(&engine), parameters(&mlp()));
        }
        (0..3).for_each(|_| drop(engine.step(&batch, &RATES).unwrap()));
        engine.save(&folder.path().join("checkpoint")).unwrap();
        bytes.push((fs::read(folder.path().join("checkpoint")).unwrap(), parameters(&engine)));
    }
    assert!(bytes[0] == bytes[1]);
}

#[test]
fn a_saved_run_goes_on_as_if_never_stopped() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("checkpoint");
    let batch = digits(50);
    let steps = |engine: &mut OrtTraining| (0..3).for_each(|_| drop(engine.step(&batch, &RATES).unwrap()));

    let mut engine = mlp();
    steps(&mut engine);
    engine.set_property("epoch", &Property::Int(3)).unwrap();
    engine.set_property("loss", &Property::Float(0.25)).unwrap();
    engine.set_property("note", &Property::Text("grüße".into())).unwrap();
    engine.save(&saved).unwrap();
    steps(&mut engine);

    let mut resumed = try_load(&Artifacts { checkpoint: saved, ..artifacts("mlp") }).unwrap();
    assert_eq!(resumed.property("epoch").unwrap(), Property::Int(3));
    assert_eq!(resumed.property("loss").unwrap(), Property::Float(0.25));
    assert_eq!(resumed.property("note").unwrap(), Property::Text("grüße".into()));
    assert!(resumed.property("none").unwrap_err().to_string().contains("No property named none"));
    steps(&mut resumed);
    assert_eq!(parameters(&resumed), parameters(&engine));
}

#[test]
fn the_learning_rate_scales_the_step() {
    needs!(engines);
    let sgd = Artifacts { optimizer_model: models().join("sgd_optimizer.onnx"), ..artifacts("mlp") };
    let batch = digits(50);
    let moved = |learning_rate| {
        let mut engine = try_load(&sgd).unwrap();
        let before = engine.parameter("fc3.bias").unwrap();
        engine.step(&batch, &Rates { learning_rate, ..RATES }).unwrap();
        let after = engine.parameter("fc3.bias").unwrap();
        &after.as_f32().unwrap() - &before.as_f32().unwrap()
    };
    assert!(moved(0.0).iter().all(|&x| x == 0.0));
    let (once, twice) = (moved(0.5), moved(1.0));
    assert!(once.iter().any(|&x| x != 0.0));
    assert!((&once * 2.0 - &twice).iter().all(|x| x.abs() < 1e-6), "{once} {twice}");
}

#[test]
fn gradients_do_not_add_up_over_steps() {
    needs!(engines);
    let sgd = Artifacts { optimizer_model: models().join("sgd_optimizer.onnx"), ..artifacts("mlp") };
    let mut engine = try_load(&sgd).unwrap();
    let batch = digits(50);
    let still = Rates { learning_rate: 0.0, ..RATES };
    let first = Rates { learning_rate: 1.0, ..RATES };
    let mut fresh = try_load(&sgd).unwrap();
    fresh.step(&batch, &first).unwrap();
    engine.step(&batch, &still).unwrap();
    engine.step(&batch, &first).unwrap();
    assert_eq!(parameters(&engine), parameters(&fresh));
}

#[test]
fn parameters_are_read_and_written_where_they_are_trained() {
    needs!(engines);
    let mut engine = mlp();
    let batch = digits(20);
    let zeros = Tensor::F32(ArrayD::zeros(IxDyn(&[10, 256])));
    engine.set_parameter("fc3.weight", &zeros).unwrap();
    assert_eq!(engine.parameter("fc3.weight").unwrap(), zeros);
    engine.set_parameter("fc3.bias", &Tensor::F32(ArrayD::zeros(IxDyn(&[10])))).unwrap();
    let loss = engine.evaluate(&batch).unwrap()[0].to_scalar().unwrap();
    assert!((loss - 10f32.ln()).abs() < 1e-6, "{loss}");

    let message = |result: Result<()>| result.unwrap_err().to_string();
    assert!(message(engine.set_parameter("fc3.bias", &zeros)).contains("Expected: {10}, Got: {10,256}"));
    assert!(message(engine.set_parameter("none", &zeros)).starts_with("cannot set the parameter `none`"));
    assert!(engine.parameter("no\0ne").unwrap_err().to_string().contains("NUL"));
}

#[test]
fn memory_in_another_order_is_read_right() {
    needs!(engines);
    let mut engine = mlp();
    let batch = digits(20);
    let pixels: Array2<f32> = batch[0].as_f32().unwrap().to_owned().into_dimensionality().unwrap();
    let columns_first = pixels.t().as_standard_layout().into_owned().reversed_axes();
    assert!(!columns_first.is_standard_layout());
    let other = [Tensor::F32(columns_first.into_dyn()), batch[1].clone()];
    assert_eq!(engine.evaluate(&other).unwrap(), engine.evaluate(&batch).unwrap());
}

#[test]
fn the_inference_model_predicts_as_evaluated() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inference.onnx");
    mlp().export(&file).unwrap();
    let model = onnx::read(&file).unwrap();
    let names = |values: &[ValueInfoProto]| values.iter().map(|v| v.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&model.graph.input), ["input"]);
    assert_eq!(names(&model.graph.output), ["logits"]);
}

#[test]
fn a_hyperparameter_of_the_graph_must_be_given() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let exposed = folder.path().join("training_model.onnx");
    let mut model = onnx::read(artifacts("mlp").training_model).unwrap().into_proto();
    let graph = model.graph.as_mut().unwrap();
    let mut radius = graph.output[0].clone();
    radius.name = Some(R.into());
    graph.input.insert(2, radius);
    // The radius comes back as an output, so that the test sees what was fed.
    let output = ValueInfoProto { name: Some("fed".into()), ..graph.input[2].clone() };
    graph.output.insert(1, output);
    graph.node.push(proto::NodeProto {
        op_type: Some("Identity".into()),
        input: vec![R.into()],
        output: vec!["fed".into()],
        ..Default::default()
    });
    let model = Model::new(model, &exposed).unwrap();
    onnx::write(model, &exposed, &onnx::WriteOptions::default()).unwrap();

    let mut engine = try_load(&Artifacts { training_model: exposed, ..artifacts("mlp") }).unwrap();
    assert_eq!(engine.batch_ports(), inputs());
    let batch = digits(20);
    let error = engine.step(&batch, &RATES).unwrap_err();
    assert_eq!(error.to_string(), "the graph needs a value for its input `gnp.r`, but none is given");
    let returned = engine.step(&batch, &Rates { r: Some(0.125), ..RATES }).unwrap();
    assert_eq!(returned[1].to_scalar(), Some(0.125));
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    needs!(engines);
    let mut engine = mlp();
    let batch = digits(20);
    let swapped = [batch[1].clone(), batch[0].clone()];
    let uneven = [batch[0].clone(), batch[1].select(&[0, 1])];
    let empty = batch.iter().map(|tensor| tensor.select(&[])).collect::<Vec<_>>();
    for batch in [&swapped[..], &batch[..1], &uneven, &empty] {
        assert_eq!(engine.step(batch, &RATES).unwrap_err().exit_code(), 2);
        assert_eq!(engine.evaluate(batch).unwrap_err().exit_code(), 2);
    }
    engine.step(&batch, &RATES).unwrap();
}

#[test]
fn files_that_are_no_artifacts_are_named() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, "no artifact").unwrap();
    let message = |artifacts: Artifacts| try_load(&artifacts).err().unwrap().to_string();
    let missing = folder.path().join("missing");
    for (what, path) in [("cannot read the checkpoint", &missing), ("cannot read the checkpoint", &garbage)] {
        let said = message(Artifacts { checkpoint: path.clone(), ..artifacts("mlp") });
        assert!(said.starts_with(&format!("{}: {what}", path.display())), "{said}");
    }
    let said = message(Artifacts { optimizer_model: missing.clone(), ..artifacts("mlp") });
    assert!(said.starts_with(&format!("{}: cannot read the model", missing.display())), "{said}");
    let said = message(Artifacts { training_model: garbage.clone(), ..artifacts("mlp") });
    assert!(said.contains("INVALID_PROTOBUF"), "{said}");
    let eval = artifacts("mlp").eval_model.unwrap();
    let said = message(Artifacts { training_model: eval, ..artifacts("mlp") });
    assert!(said.contains("Gradient buffer input not provided for param: fc1.weight"), "{said}");
}

#[test]
fn without_an_evaluation_model_there_is_no_evaluation() {
    needs!(engines);
    let mut engine = try_load(&Artifacts { eval_model: None, ..artifacts("mlp") }).unwrap();
    let batch = digits(20);
    engine.step(&batch, &RATES).unwrap();
    assert!(engine.evaluate_outputs().is_empty());
    assert_eq!(engine.evaluate(&batch).unwrap_err().to_string(), "there is no evaluation model");
    assert_eq!(engine.export(Path::new("x.onnx")).unwrap_err().to_string(), "there is no evaluation model");
}

#[test]
fn a_device_without_provider_is_refused() {
    needs!(engines);
    let options = EngineOptions { device: Device::Cuda(0), ..EngineOptions::default() };
    let error = OrtTraining::load(&training_runtime(), &artifacts("mlp"), &options).err().unwrap();
    assert!(
        error.to_string().contains("`cuda:0`: it has no CUDAExecutionProvider, only CPUExecutionProvider"),
        "{error}"
    );
}

#[test]
fn a_second_runtime_is_refused() {
    needs!(engines);
    let engine = mlp();
    let other = Runtime { library: "other.so".into(), ..training_runtime() };
    let error = OrtTraining::load(&other, &artifacts("mlp"), &EngineOptions::default()).err().unwrap();
    assert!(
        error.to_string().starts_with("other.so: cannot load this ONNX Runtime: the process has loaded"),
        "{error}"
    );
    drop(engine);
}

#[test]
fn a_step_whose_loss_is_no_number_is_not_taken() {
    needs!(engines);
    let (mut engine, mut undisturbed) = (mlp(), mlp());
    let batch = digits(20);
    let mut spoilt = batch.clone();
    if let Tensor::F32(pixels) = &mut spoilt[0] {
        pixels[[3, 5]] = f32::NAN;
    }
    engine.step(&batch, &RATES).unwrap();
    undisturbed.step(&batch, &RATES).unwrap();
    let before = parameters(&engine);
    assert!(engine.step(&spoilt, &RATES).unwrap()[0].to_scalar().unwrap().is_nan());
    assert!(engine.not_finite().is_some_and(|found| found.name == engine.step_outputs()[0] && found.value.is_nan()));
    assert_eq!(parameters(&engine), before);

    // Its gradient is forgotten.
    engine.step(&batch, &RATES).unwrap();
    undisturbed.step(&batch, &RATES).unwrap();
    assert_eq!((engine.not_finite(), parameters(&engine)), (None, parameters(&undisturbed)));
}

#[test]
fn parameters_that_are_no_numbers_are_not_written() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut engine = mlp();
    engine.set_parameter("fc3.bias", &Tensor::F32(ArrayD::from_elem(IxDyn(&[10]), f32::INFINITY))).unwrap();
    let file = folder.path().join("file");
    for written in [engine.save(&file), engine.export(&file)] {
        assert!(written.unwrap_err().to_string().starts_with("`fc3.bias` holds inf"));
        assert!(!file.exists());
    }
}

#[test]
fn installing_twice_at_once_gives_one_runtime_that_trains() {
    needs!(engines);
    let [first, second] = std::thread::scope(|scope| {
        [(); 2].map(|()| scope.spawn(|| runtime::install_training(&mut |_| {}).unwrap())).map(|t| t.join().unwrap())
    });
    assert_eq!(first, second);
    assert_eq!((first.version.as_str(), first.kind), ("1.19.2", Kind::Training));
    assert!(first.providers.contains(&"CPUExecutionProvider".to_owned()), "{:?}", first.providers);
    assert!(runtime::discover(None).iter().any(|candidate| candidate.library == first.library));
}
