//! The gradient in the accumulators of a rewritten artifact is the formula's, evaluated with the unmodified artifact.
use crate::support::plain::{Plain, perturbed, rewritten};
use crate::support::{EXAMPLES, Example, RATES, Vector, gradient, norm, relative_error};
use gnp::emit::artifact::Settings;
use gnp::penalty::{Mix, Penalty, Perturbation};

const TOLERANCE: f64 = 1e-5;

fn mixed(g1: &[f64], g2: &[f64], alpha: f64, mix: Mix) -> Vector {
    let here = match mix {
        Mix::Raw => 1.0 - alpha,
        Mix::Unit => (1.0 - alpha) / norm(g1),
    };
    g1.iter().zip(g2).map(|(a, b)| here * a + alpha * b).collect()
}

/// Each combination of settings, on one artifact. The rounding of θ + ε may fall on the other side of a kink of ReLU in
/// the rewritten graph, so r is tried with its neighbours too; a wrong formula is off by far more at all of them.
fn check_all_settings(example: &Example) {
    let plain = Plain::new(example);
    let theta = plain.theta();
    let g1 = plain.gradient_at(&theta);
    assert!(norm(&g1) > 1e-3, "the example's gradient is too small to tell anything");
    let folder = tempfile::tempdir().unwrap();
    for perturb in [Perturbation::L2, Perturbation::Adaptive] {
        let r = if perturb == Perturbation::L2 { 0.1 } else { 0.5 };
        let g2s = [1.0, 1.0 - 1e-6, 1.0 + 1e-6]
            .map(|factor| plain.gradient_at(&perturbed(&theta, &g1, f64::from(r) * factor, perturb)));
        assert!(relative_error(&g2s[0], &g1) > 100.0 * TOLERANCE, "the perturbation changes too little to be tested");
        for (mix, alpha) in [Mix::Raw, Mix::Unit].into_iter().flat_map(|m| [0.3f32, 0.8, 1.0].map(|a| (m, a))) {
            let settings = Settings { penalty: Penalty { r, alpha, mix, perturb }, ..Settings::default() };
            let mut engine = example.load(&rewritten(example, settings, folder.path()));
            let g = gradient(&mut engine, &plain.parameters, &plain.batch, &RATES);
            let errors = g2s.each_ref().map(|g2| relative_error(&g, &mixed(&g1, g2, f64::from(alpha), mix)));
            let best = errors.iter().copied().fold(f64::INFINITY, f64::min);
            println!("{:>8} {perturb:?} {mix:?} alpha {alpha}: {best:.1e}", example.name);
            assert!(best <= TOLERANCE, "{} {perturb:?} {mix:?} alpha {alpha}: {errors:?}", example.name);
        }
    }
}

#[test]
fn mlp() {
    needs!(engines);
    check_all_settings(&EXAMPLES[0]);
}

#[test]
fn cnn_with_batch_norm_and_dropout() {
    needs!(engines);
    check_all_settings(&EXAMPLES[1]);
}

#[test]
fn vision_transformer() {
    needs!(engines);
    check_all_settings(&EXAMPLES[2]);
}

#[test]
fn frozen_backbone() {
    needs!(engines);
    check_all_settings(&EXAMPLES[3]);
}
