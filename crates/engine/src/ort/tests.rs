//! Every manner in which a step is computed gives the same numbers.
//!
//! Those on a card: `cargo test -p gnp-engine --lib on_a_card -- --ignored --test-threads 1`, with an ONNX Runtime for
//! CUDA that `gnp-run engines` lists (`ORT_DYLIB_PATH` names one, `GNP_CACHE_DIR` the folder of those installed).

use super::*;
use crate::OrtOption;
use crate::runtime;
use gnp_gradient::loss::LossKind;
use gnp_model::onnx::proto::ModelProto;
use gnp_step::penalty::Warmup;
use gnp_step::rewrite::{StepConfig, StepOptions, make_evaluation, make_step};
use ndarray::{ArrayD, IxDyn};
use prost::Message as _;
use std::env;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A model to train, and the shape of one sample.
struct Network {
    name: &'static str,
    bytes: &'static [u8],
    sample: &'static [usize],
}

const MLP: Network = Network { name: "mlp", bytes: include_bytes!("../../../../models/mlp/model.onnx"), sample: &[64] };
const CNN: Network =
    Network { name: "cnn", bytes: include_bytes!("../../../../models/cnn/model.onnx"), sample: &[1, 28, 28] };
const VIT: Network =
    Network { name: "vit", bytes: include_bytes!("../../../../models/vit/model.onnx"), sample: &[1, 8, 8] };

impl Network {
    /// The step model, and what it is evaluated with.
    fn step(&self, warmup: Warmup) -> (Model, Model) {
        let forward = Model::new(ModelProto::decode(self.bytes).unwrap(), self.name).unwrap();
        let loss = LossKind::CrossEntropy.into();
        let options = StepOptions { loss, warmup, warmup_steps: 4, ..StepOptions::default() };
        let (step, _) = make_step(forward.clone(), &options).unwrap();
        let state: Vec<String> =
            StepModel::recognise(&step).unwrap().state.into_iter().map(|slot| slot.port.name).collect();
        let eval = make_evaluation(forward, &StepConfig::of(&step).unwrap(), &state).unwrap();
        (step, eval)
    }

    fn batch(&self, count: usize, number: usize) -> Vec<Tensor> {
        let shape = [&[count], self.sample].concat();
        let noise = |i: usize| ((i * 7919 + number * 104_729) % 1009) as f32 / 1009.0 - 0.5;
        let samples = (0..shape.iter().product()).map(noise).collect();
        let labels = (0..count).map(|i| ((i * 5 + number) % 10) as i64).collect();
        vec![
            Tensor::F32(ArrayD::from_shape_vec(IxDyn(&shape), samples).unwrap()),
            Tensor::I64(ArrayD::from_shape_vec(IxDyn(&[count]), labels).unwrap()),
        ]
    }
}

/// The runtime for a device, where one is here. One test at a time has it.
fn stock(device: Device) -> Option<(Runtime, MutexGuard<'static, ()>)> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let found = runtime::for_steps(None, device).unwrap();
    let must = device != Device::Cpu || env::var_os("GNP_TESTS").is_some_and(|which| which == "all");
    assert!(found.is_some() || !must, "needs ONNX Runtime");
    found.map(|runtime| (runtime, guard))
}

const JOINT: Manner = Manner { splits: false, records: false };
const SPLIT: Manner = Manner { splits: true, records: false };
const IN_PLACE: Manner = Manner { splits: true, records: true };

/// What the steps from `begin` to `end` return; every fifth is plain, and the eighth has a smaller batch. Between them
/// there are rehearsals.
fn steps(engine: &mut Ort, network: &Network, begin: usize, end: usize) -> Vec<Tensor> {
    let mut all = Vec::new();
    for number in begin..end {
        let r = if number % 5 == 4 { 0.0 } else { 0.1 };
        let rates = Rates { r: Some(r), ..Rates::new(0.05 / (1 + number) as f32) };
        let batch = network.batch(if number == 7 { 5 } else { 8 }, number);
        if number % 3 == 1 {
            let other = Rates { r: Some(0.1 - r), ..Rates::new(1.0) };
            engine.rehearse(&network.batch(8, 100 + number), &other).unwrap();
        }
        all.extend(engine.step(&batch, &rates).unwrap());
        assert_eq!(engine.not_finite(), None);
    }
    all.extend(engine.evaluate(&network.batch(6, 50)).unwrap());
    all
}

/// All numbers of a run that is stopped and goes on in an engine of another manner.
fn run(
    runtime: &Runtime,
    network: &Network,
    warmup: Warmup,
    manners: [Manner; 2],
    options: &EngineOptions,
) -> Numbered {
    let (step, eval) = network.step(warmup);
    let load = |manner| Ort::load_in(manner, runtime, &step, Some(&eval), options).unwrap();
    let mut first = load(manners[0]);
    let mut all = steps(&mut first, network, 0, 6);
    let mut second = load(manners[1]);
    second.set_state(&first.state().unwrap()).unwrap();
    all.extend(steps(&mut second, network, 6, 12));
    // The first engine goes back to what it was, and so does what it counts.
    let state = second.state().unwrap();
    first.set_state(&load(JOINT).state().unwrap()).unwrap();
    all.extend(steps(&mut first, network, 0, 3));
    if manners[0].records {
        assert_eq!(first.steps.refused(), None, "{}", network.name);
        assert!(first.recorder.as_ref().is_some_and(|recorder| recorder.places.is_some()));
    }
    all.extend(state.into_iter().map(|(_, tensor)| tensor));
    Numbered { all, remarks: first.remarks() }
}

struct Numbered {
    all: Vec<Tensor>,
    remarks: Vec<String>,
}

#[test]
fn branches_and_places_change_no_number() {
    let Some((runtime, _guard)) = stock(Device::Cpu) else { return };
    let options = EngineOptions::default();
    for network in [&MLP, &CNN, &VIT] {
        for warmup in [Warmup::None, Warmup::R, Warmup::Lambda, Warmup::Zero] {
            let with_if = run(&runtime, network, warmup, [JOINT, JOINT], &options).all;
            for manners in [[SPLIT, SPLIT], [IN_PLACE, IN_PLACE], [SPLIT, JOINT], [JOINT, IN_PLACE]] {
                let found = run(&runtime, network, warmup, manners, &options).all;
                assert!(found == with_if, "{} {warmup:?}", network.name);
            }
        }
    }
}

#[test]
fn a_step_model_has_no_if_in_either_branch_and_fewer_nodes_in_the_plain_one() {
    let (step, _) = CNN.step(Warmup::Zero);
    let found = branches::split(&step, &StepModel::recognise(&step).unwrap()).unwrap();
    let [plain, penalised] = found.models.each_ref().map(|model| &model.graph.node);
    assert!(plain.iter().chain(penalised).all(|node| node.op_type() != "If"));
    assert!(plain.len() < penalised.len(), "{} {}", plain.len(), penalised.len());
    assert!(found.condition.graph.node.len() < 12);
    assert_eq!(found.state.len(), 1);
    // Without a warm-up it hangs on r and α alone.
    let (step, _) = CNN.step(Warmup::None);
    let found = branches::split(&step, &StepModel::recognise(&step).unwrap()).unwrap();
    assert_eq!((found.state.len(), found.hyperparameters.len()), (0, 2));
}

#[test]
fn a_step_that_is_not_taken_is_not_counted() {
    let Some((runtime, _guard)) = stock(Device::Cpu) else { return };
    let (step, _) = MLP.step(Warmup::Zero);
    for manner in [JOINT, IN_PLACE] {
        let mut engine = Ort::load_in(manner, &runtime, &step, None, &EngineOptions::default()).unwrap();
        let before = engine.state().unwrap();
        let mut bad = MLP.batch(8, 0);
        if let Tensor::F32(samples) = &mut bad[0] {
            samples.fill(f32::INFINITY);
        }
        for _ in 0..6 {
            engine.step(&bad, &Rates::new(0.1)).unwrap();
            assert!(engine.not_finite().is_some());
        }
        assert_eq!(engine.state().unwrap(), before);
        // The first step is plain: the penalty is not there yet.
        let returned = engine.step(&MLP.batch(8, 0), &Rates::new(0.1)).unwrap();
        let at = |name: &str| engine.step_outputs().iter().position(|output| output == name).unwrap();
        assert_eq!(returned[at("loss")], returned[at("gnp.loss_perturbed")]);
    }
}

#[test]
fn what_is_of_no_use_on_the_processor_is_refused() {
    let Some((runtime, _guard)) = stock(Device::Cpu) else { return };
    let (step, _) = MLP.step(Warmup::None);
    let refusal = |options: &EngineOptions| Ort::load(&runtime, &step, None, options).err().unwrap().to_string();
    let tf32 = EngineOptions { tf32: Some(Tf32::Off), ..EngineOptions::default() };
    assert_eq!(refusal(&tf32), "--tf32 is of no use: the processor computes with float32 throughout");
    let option = |text: &str| EngineOptions { ort: vec![text.parse::<OrtOption>().unwrap()], ..Default::default() };
    let of_provider = refusal(&option("cudnn_conv_algo_search=DEFAULT"));
    assert!(of_provider.starts_with("--ort-option cudnn_conv_algo_search=DEFAULT is of no use"), "{of_provider}");
    let long = refusal(&option(&format!("session.{}=1", "x".repeat(5000))));
    assert!(long.contains("is refused: ONNX Runtime: "), "{long}");
    Ort::load(&runtime, &step, None, &option("session.intra_op.allow_spinning=0")).unwrap();
}

/// On a card without TF32, so that what is compared was computed alike.
fn on_card(cuda_graph: CudaGraph) -> EngineOptions {
    EngineOptions { device: Device::Cuda(0), tf32: Some(Tf32::Off), cuda_graph, ..EngineOptions::default() }
}

#[track_caller]
fn assert_close(found: &[Tensor], expected: &[Tensor], bound: f32) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let (Tensor::F32(found), Tensor::F32(expected)) = (found, expected) else {
            assert_eq!(found, expected);
            continue;
        };
        let scale = expected.iter().fold(1e-3, |most: f32, x| most.max(x.abs()));
        let difference = found.iter().zip(expected).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()));
        assert!(difference <= bound * scale, "tensor {index}: {difference} of {scale}");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn on_a_card_recorded_steps_are_those_of_every_operator_by_itself() {
    let Some((runtime, _guard)) = stock(Device::Cuda(0)) else { return };
    for (network, bound) in [(&MLP, 1e-6), (&CNN, 1e-5), (&VIT, 1e-5)] {
        for warmup in [Warmup::None, Warmup::Zero] {
            let (off, auto) = (on_card(CudaGraph::Off), on_card(CudaGraph::Auto));
            let by_itself = run(&runtime, network, warmup, [JOINT, JOINT], &off);
            let recorded = run(&runtime, network, warmup, [Manner::of(&auto); 2], &auto);
            eprintln!("{} {warmup:?}: {:?}", network.name, recorded.remarks);
            assert!(recorded.remarks.iter().any(|remark| remark == "CUDA graph: yes"), "{:?}", recorded.remarks);
            assert!(by_itself.remarks.iter().any(|remark| remark == "CUDA graph: no"), "{:?}", by_itself.remarks);
            assert_close(&recorded.all, &by_itself.all, bound);
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn on_a_card_hyperparameters_reach_recorded_steps() {
    let Some((runtime, _guard)) = stock(Device::Cuda(0)) else { return };
    let options = on_card(CudaGraph::Auto);
    let (step, _) = MLP.step(Warmup::None);
    let mut engine = Ort::load(&runtime, &step, None, &options).unwrap();
    for number in 0..6 {
        engine.step(&MLP.batch(8, number), &Rates::new(0.05)).unwrap();
    }
    let before = engine.state().unwrap();
    engine.step(&MLP.batch(8, 6), &Rates::new(0.0)).unwrap();
    let moved =
        |a: &State, b: &State| a.iter().filter(|(name, t)| name.ends_with("weight") && b.get(name) != Some(t)).count();
    assert_eq!(moved(&engine.state().unwrap(), &before), 0, "with a learning rate of 0 nothing moves");
    engine.step(&MLP.batch(8, 7), &Rates::new(0.05)).unwrap();
    assert!(moved(&engine.state().unwrap(), &before) > 0);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn on_a_card_the_runtimes_words_say_which_option_it_refuses() {
    let Some((runtime, _guard)) = stock(Device::Cuda(0)) else { return };
    let (step, _) = MLP.step(Warmup::None);
    let load = |text: &str| {
        let options = EngineOptions { ort: vec![text.parse().unwrap()], ..on_card(CudaGraph::Auto) };
        Ort::load(&runtime, &step, None, &options)
    };
    let error = load("no_such_option=1").err().unwrap();
    assert!(error.to_string().starts_with("--ort-option no_such_option=1 is refused: ONNX Runtime: "), "{error}");
    load("cudnn_conv_algo_search=HEURISTIC").unwrap();
}
