//! What the two passes of a rewritten artifact share, and what happens once.
use crate::support::plain::{Plain, perturbed, rewritten};
use crate::support::{EXAMPLES, Example, RATES, Vector, gradient, norm, read, relative_error};
use gnp::emit::artifact::Settings;
use gnp::engine::{Engine as _, Rates};
use gnp::onnx;
use gnp::penalty::{Mix, Penalty};
use gnp::tensor::Tensor;
use ndarray::ArrayD;
use std::path::Path;

const CNN: &Example = &EXAMPLES[1];

fn settings(r: f32, alpha: f32) -> Settings {
    Settings { penalty: Penalty { r, alpha, ..Penalty::default() }, ..Settings::default() }
}

/// The running statistics after one step of the training model.
fn statistics_after_a_step(training_model: &Path) -> Vector {
    let names = ["bn1.running_mean", "bn1.running_var", "bn2.running_mean", "bn2.running_var"].map(String::from);
    let mut engine = CNN.load(training_model);
    let before = read(&engine, &names);
    engine.step(&CNN.batch(24), &RATES).unwrap();
    let after = read(&engine, &names);
    assert!(relative_error(&after, &before) > 1e-2, "a step must move the statistics");
    after
}

#[test]
fn batch_norm_statistics_move_once() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let plain = statistics_after_a_step(&CNN.training_model());
    let gnp = statistics_after_a_step(&rewritten(CNN, settings(0.5, 0.8), folder.path()));
    assert!(relative_error(&gnp, &plain) <= 1e-6);
}

#[test]
fn both_passes_drop_the_same_units() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let plain = Plain::new(CNN);
    let g1 = plain.gradient_at(&plain.theta());
    // So small a radius moves no parameter; what differs between the passes is then the mask alone.
    let mut engine = CNN.load(&rewritten(CNN, settings(1e-30, 1.0), folder.path()));
    let g2 = gradient(&mut engine, &plain.parameters, &plain.batch, &RATES);
    assert!(relative_error(&g2, &g1) <= 1e-6);
    let next_draw = gradient(&mut engine, &plain.parameters, &plain.batch, &RATES);
    assert!(relative_error(&next_draw, &g1) > 1e-2, "another mask must give another gradient");
}

#[test]
fn a_zero_gradient_perturbs_nothing() {
    needs!(engines);
    let example = &EXAMPLES[0];
    let folder = tempfile::tempdir().unwrap();
    for mix in [Mix::Raw, Mix::Unit] {
        let penalty = Penalty { mix, ..Penalty::default() };
        let mut engine = example.load(&rewritten(example, Settings { penalty, ..Settings::default() }, folder.path()));
        // A bias this large makes the softmax exactly one-hot, on the one label there is.
        let mut bias = ArrayD::zeros(vec![10]);
        bias[[0]] = 1e6;
        engine.set_parameter("fc3.bias", &Tensor::F32(bias)).unwrap();
        let mut batch = example.batch(8);
        batch[1] = Tensor::I64(ArrayD::zeros(vec![8]));
        let g = gradient(&mut engine, &example.parameters(), &batch, &RATES);
        assert_eq!(norm(&g), 0.0, "{mix:?}");
    }
}

#[test]
fn exposed_numbers_act_as_constants_do() {
    needs!(engines);
    let example = &EXAMPLES[0];
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let parameters = example.parameters();
    let batch = example.batch(24);
    for mix in [Mix::Raw, Mix::Unit] {
        let constant = |r, alpha| {
            let penalty = Penalty { r, alpha, mix, ..Penalty::default() };
            Settings { penalty, ..Settings::default() }
        };
        let exposed = Settings { expose_r: true, expose_alpha: true, ..constant(0.1, 0.8) };
        let mut exposed = example.load(&rewritten(example, exposed, a.path()));
        for (r, alpha) in [(0.3, 0.5), (0.1, 1.0), (0.2, 0.0), (0.0, 0.7)] {
            let mut constant = example.load(&rewritten(example, constant(r, alpha), b.path()));
            let expected = gradient(&mut constant, &parameters, &batch, &RATES);
            let rates = Rates { r: Some(r), alpha: Some(alpha), ..RATES };
            let g = gradient(&mut exposed, &parameters, &batch, &rates);
            assert!(relative_error(&g, &expected) <= 1e-6, "{mix:?} r {r} alpha {alpha}");
        }
        let error = exposed.step(&batch, &RATES).unwrap_err();
        assert!(error.to_string().contains("gnp.r"), "{error}");
    }
}

#[test]
fn with_a_radius_of_0_the_gradient_is_the_plain_one() {
    needs!(engines);
    let example = &EXAMPLES[0];
    let folder = tempfile::tempdir().unwrap();
    let plain = Plain::new(example);
    let expected = plain.gradient_at(&plain.theta());
    for expose_r in [false, true] {
        let penalty = Penalty { r: 0.0, mix: Mix::Unit, ..Penalty::default() };
        let settings = Settings { penalty, expose_r, ..Settings::default() };
        let mut engine = example.load(&rewritten(example, settings, folder.path()));
        let rates = Rates { r: expose_r.then_some(0.0), ..RATES };
        let g = gradient(&mut engine, &plain.parameters, &plain.batch, &rates);
        assert!(relative_error(&g, &expected) <= 1e-6, "exposed: {expose_r}");
    }
}

#[test]
fn metrics_are_those_of_the_plain_artifact() {
    needs!(engines);
    for example in &EXAMPLES {
        let folder = tempfile::tempdir().unwrap();
        let plain = Plain::new(example);
        let theta = plain.theta();
        let g1 = plain.gradient_at(&theta);
        let there = perturbed(&theta, &g1, f64::from(0.25f32), Default::default());
        let g2 = plain.gradient_at(&there);
        for alpha in [0.0, 0.8] {
            let settings = Settings { metrics: true, ..settings(0.25, alpha) };
            let mut engine = example.load(&rewritten(example, settings, folder.path()));
            let outputs = engine.step(&plain.batch, &RATES).unwrap();
            let names = engine.step_outputs();
            assert_eq!(
                names[names.len() - 4..],
                ["gnp.grad_norm", "gnp.loss_perturbed", "gnp.mixed_grad_norm", "gnp.param_norm"]
            );
            let [.., grad_norm, loss_perturbed, mixed_grad_norm, param_norm] = &outputs[..] else {
                panic!("too few outputs")
            };
            let error = |found: &Tensor, expected: f64| (f64::from(found.to_scalar().unwrap()) / expected - 1.0).abs();
            let alpha = f64::from(alpha);
            let mixed: Vector = g1.iter().zip(&g2).map(|(a, b)| (1.0 - alpha) * a + alpha * b).collect();
            assert!(error(grad_norm, norm(&g1)) <= 1e-5);
            assert!(error(loss_perturbed, plain.loss_at(&there)) <= 1e-5);
            assert!(error(mixed_grad_norm, norm(&mixed)) <= 1e-5, "{} alpha {alpha}", example.name);
            assert!(error(param_norm, norm(&theta)) <= 1e-5);
        }
    }
}

#[test]
fn by_default_the_application_sees_no_difference() {
    for example in &EXAMPLES {
        let folder = tempfile::tempdir().unwrap();
        let before = onnx::read(example.training_model()).unwrap();
        let after = onnx::read(rewritten(example, Settings::default(), folder.path())).unwrap();
        assert_eq!(before.graph.input, after.graph.input);
        assert_eq!(before.graph.output, after.graph.output);
        assert_eq!(before.header.opset_import, after.header.opset_import);
        let kept = |n: &&onnx::proto::NodeProto| !n.op_type().starts_with("InPlaceAccumulator");
        let (was, is): (Vec<_>, Vec<_>) =
            (before.graph.node.iter().filter(kept).collect(), after.graph.node.iter().filter(kept).collect());
        assert!(was.iter().all(|node| is.contains(node)), "nodes that came with the model stay as they are");
    }
}

#[test]
fn with_a_frozen_backbone_only_the_head_is_repeated() {
    let example = &EXAMPLES[3];
    let folder = tempfile::tempdir().unwrap();
    let model = onnx::read(rewritten(example, Settings::default(), folder.path())).unwrap();
    let sources = model.graph.node.iter().flat_map(|n| &n.metadata_props).filter(|e| e.key() == "gnp.source");
    let repeated: Vec<_> = sources.map(|e| e.value().to_owned()).collect();
    assert!(!repeated.is_empty());
    let backbone = |name: &&String| name.contains("conv") || name.contains("pool");
    assert_eq!(repeated.iter().find(backbone), None);
    assert_eq!(model.graph.node.iter().filter(|n| n.op_type() == "Conv").count(), 6);
}

#[test]
fn the_same_rewrite_gives_the_same_bytes() {
    for example in &EXAMPLES {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [a, b] =
            [a, b].map(|folder| std::fs::read(rewritten(example, Settings::default(), folder.path())).unwrap());
        assert!(a == b);
    }
}
