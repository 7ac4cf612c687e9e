//! The Gradient Norm Penalty (Zhao, Zhang, Hu, "Penalizing Gradient Norm for Efficiently Improving Generalization in
//! Deep Learning", ICML 2022).
//!
//! Training on L(θ) + λ‖∇L(θ)‖₂ follows, to first order in r, the gradient
//!
//! > g = (1 − α)·∇L(θ) + α·∇L(θ + r·∇L(θ)/‖∇L(θ)‖₂), α = λ/r
//!
//! (the paper's equation 8 and algorithm 1). The norm is that of all trainable parameters together. α = 1 is
//! sharpness-aware minimisation (Foret et al., ICLR 2021); r = 0 is plain training, and so is α = 0, except in the mix
//! that is normalised ([`Mix::Unit`]).

mod mix;
mod perturbation;
mod warmup;

pub use mix::Mix;
pub use perturbation::Perturbation;
pub use warmup::Warmup;

use crate::objective::Objective;
use crate::pass;
use crate::stack::Stacks;
use gnp_base::contract::{GRAD_NORM, LOSS_PERTURBED, MIXED_GRAD_NORM, PARAM_NORM};
use gnp_base::{Error, Result};
use gnp_model::graph::{Branch, Builder, Fact, Graph, Value};
use gnp_model::onnx::DataType;
pub(crate) use perturbation::is_finite;
use perturbation::norm;
use serde::{Deserialize, Serialize};

/// The penalty's settings. All numbers are dimensionless, the radius in the units of the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Penalty {
    /// The radius r of the perturbation.
    pub r: f32,
    /// The weight α of the perturbed gradient.
    pub alpha: f32,
    /// How the two gradients are mixed.
    pub mix: Mix,
    /// Where the second gradient is taken.
    pub perturb: Perturbation,
}

impl Default for Penalty {
    /// The paper's recipe for CIFAR: r = 0.1, α = 0.8.
    fn default() -> Self {
        Self { r: 0.1, alpha: 0.8, mix: Mix::Raw, perturb: Perturbation::L2 }
    }
}

impl Penalty {
    /// Checks the numbers.
    ///
    /// # Errors
    /// Where r or α is negative or no finite number.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [("r", self.r), ("alpha", self.alpha)] {
            if !value.is_finite() || value < 0.0 {
                return Err(Error::input(format!("{name} is {value}; expected a finite number, zero or above")).help(
                    "the paper's recipes have r = 0.1 (0.05 for ImageNet) and alpha = 0.8; alpha = 1 is SAM, 0 is plain training",
                ));
            }
        }
        Ok(())
    }

    /// What the literature calls training with these numbers.
    ///
    /// ```
    /// use gnp_step::penalty::Penalty;
    /// assert_eq!(Penalty::default().method(), "GNP");
    /// assert_eq!(Penalty { alpha: 1.0, ..Default::default() }.method(), "SAM");
    /// assert_eq!(Penalty { r: 0.0, ..Default::default() }.method(), "plain training");
    /// ```
    pub fn method(&self) -> &'static str {
        match self.alpha {
            _ if self.is_plain() => "plain training",
            1.0 => "SAM",
            _ => "GNP",
        }
    }

    /// Whether a step with these numbers is a step of plain training.
    ///
    /// ```
    /// use gnp_step::penalty::{Penalty, Mix};
    /// assert!(Penalty { r: 0.0, ..Default::default() }.is_plain());
    /// assert!(Penalty { alpha: 0.0, ..Default::default() }.is_plain());
    /// assert!(!Penalty { alpha: 0.0, mix: Mix::Unit, ..Default::default() }.is_plain());
    /// ```
    pub fn is_plain(&self) -> bool {
        self.r == 0.0 || (self.alpha == 0.0 && self.mix == Mix::Raw)
    }
}

/// A number of the penalty as a value of the graph.
#[derive(Clone, Debug)]
pub enum Coefficient {
    /// A constant; the graph is built for just this number.
    Constant(f32),
    /// A float scalar of the graph, known when it runs.
    Value(Value),
}

impl Coefficient {
    fn value(&self, b: &Builder<'_>, name: &str) -> Value {
        match self {
            Self::Constant(c) => b.scalar(*c, name),
            Self::Value(value) => value.clone(),
        }
    }

    fn is_constant(&self, number: f32) -> bool {
        matches!(self, Self::Constant(c) if *c == number)
    }
}

/// What the penalty appended.
#[derive(Clone, Debug)]
pub struct Penalised {
    /// g, for each stack of the objective's parameters.
    pub gradients: Vec<Value>,
    /// What may be told of it.
    pub metrics: Metrics,
}

impl Penalised {
    /// Measures the mix anew, of the parameters `theta`: where its gradients are others now.
    pub(crate) fn measure_mix(&mut self, graph: &mut Graph, theta: &[Value]) {
        let b = Builder::new(graph, pass::METRICS);
        self.metrics.mixed_gradient_norm = norm(&b, theta, &self.gradients, "mixed_gradient_norm");
    }
}

/// Float scalars that tell how the training goes. Norms are over all trainable parameters together.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// ‖∇L(θ)‖₂.
    pub gradient_norm: Value,
    /// L(θ + ε); L(θ) where there is no second pass.
    pub perturbed_loss: Value,
    /// ‖g‖₂, of the mix.
    pub mixed_gradient_norm: Value,
    /// ‖θ‖₂.
    pub parameter_norm: Value,
}

impl Metrics {
    /// Each under the name that it is returned under, in the order of the outputs.
    pub fn named(&self) -> [(&'static str, &Value); 4] {
        [
            (GRAD_NORM, &self.gradient_norm),
            (LOSS_PERTURBED, &self.perturbed_loss),
            (MIXED_GRAD_NORM, &self.mixed_gradient_norm),
            (PARAM_NORM, &self.parameter_norm),
        ]
    }
}

/// The penalty's two numbers in a graph.
#[derive(Clone, Debug)]
pub struct Coefficients {
    /// The radius r.
    pub r: Coefficient,
    /// The weight α.
    pub alpha: Coefficient,
    /// Whether the second pass is behind an `If`, so that a step with r = 0 or α = 0 costs what a plain one costs.
    pub skip: bool,
    /// Whether a gradient that is not finite is no fault: it then perturbs nothing.
    pub may_overflow: bool,
}

impl Coefficients {
    /// The numbers of `penalty` as constants.
    pub fn constant(penalty: &Penalty) -> Self {
        let (r, alpha) = (Coefficient::Constant(penalty.r), Coefficient::Constant(penalty.alpha));
        Self { r, alpha, skip: false, may_overflow: false }
    }
}

/// Appends the penalised gradient of `objective`, whose parameters are in `stacks`, to `graph`. Nodes that turn out not
/// to be needed (the second pass where α is the constant 0, say) are left for [`Graph::remove_unused`].
///
/// # Errors
/// As [`Objective::at`].
pub fn apply(
    graph: &mut Graph,
    objective: &impl Objective,
    penalty: &Penalty,
    coefficients: &Coefficients,
    stacks: &Stacks,
) -> Result<Penalised> {
    let Coefficients { r, alpha, skip, may_overflow } = coefficients;
    let (parameters, theta) = (objective.parameters().to_vec(), stacks.joined());
    let here = objective.at(graph, &parameters, pass::GRADIENT)?;
    let g1 = stacks.join(&Builder::new(graph, pass::STACK), &here.gradients);
    let gradient_norm = norm(&Builder::new(graph, pass::PERTURBATION), theta, &g1, "gradient_norm");
    let parameter_norm = norm(&Builder::new(graph, pass::METRICS), theta, theta, "parameter_norm");
    let condition = skip.then(|| needs_second_pass(graph, r, alpha));
    // The mix of ∇L(θ) alone is ∇L(θ), as a rule.
    let norm_of = |graph: &mut Graph, gradients: &[Value]| {
        if gradients == g1 {
            gradient_norm.clone()
        } else {
            norm(&Builder::new(graph, pass::METRICS), theta, gradients, "mixed_gradient_norm")
        }
    };

    let begin = graph.nodes().len();
    let (perturbed_loss, g2) = if r.is_constant(0.0) {
        (here.loss.clone(), g1.clone())
    } else {
        let perturbed = perturbation::perturb(graph, theta, &g1, &gradient_norm, r, penalty.perturb, *may_overflow);
        let perturbed = stacks.part(&Builder::new(graph, pass::PERTURBATION), &perturbed);
        let there = objective.at(graph, &perturbed, pass::PERTURBED)?;
        (there.loss, stacks.join(&Builder::new(graph, pass::STACK), &there.gradients))
    };
    let gradients = mix::mix(graph, &g1, &g2, &gradient_norm, r, alpha, penalty.mix);
    let mixed_gradient_norm = norm_of(graph, &gradients);
    let Some(condition) = condition else {
        let metrics = Metrics { gradient_norm, perturbed_loss, mixed_gradient_norm, parameter_norm };
        return Ok(Penalised { gradients, metrics });
    };

    let then = Branch { begin, outputs: [gradients, vec![perturbed_loss, mixed_gradient_norm]].concat() };
    let begin = graph.nodes().len();
    let gradients = mix::without_second_pass(graph, &g1, &gradient_norm, r, penalty.mix);
    let mixed_gradient_norm = norm_of(graph, &gradients);
    let otherwise = Branch { begin, outputs: [gradients, vec![here.loss.clone(), mixed_gradient_norm]].concat() };
    let mut chosen = graph.branch(&condition, then, otherwise, pass::MIX);
    let (Some(mixed_gradient_norm), Some(perturbed_loss)) = (chosen.pop(), chosen.pop()) else {
        return Err(Error::internal("a branch returned nothing"));
    };
    let metrics = Metrics { gradient_norm, perturbed_loss, mixed_gradient_norm, parameter_norm };
    Ok(Penalised { gradients: chosen, metrics })
}

/// Whether r and α are both above 0.
fn needs_second_pass(graph: &mut Graph, r: &Coefficient, alpha: &Coefficient) -> Value {
    let b = Builder::new(graph, pass::PERTURBATION);
    let (r, alpha) = (r.value(&b, "r"), alpha.value(&b, "alpha"));
    let smaller = b.named("second_pass/smaller", "Min", &[&r, &alpha], scalar());
    let zero = b.scalar(0.0, "second_pass/zero");
    b.named("second_pass", "Greater", &[&smaller, &zero], condition())
}

/// A float scalar.
fn scalar() -> Fact {
    Fact::with_sizes(DataType::Float, &[])
}

/// A boolean scalar.
fn condition() -> Fact {
    Fact::with_sizes(DataType::Bool, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::Evaluation;
    use gnp_model::graph::scalar_info;
    use gnp_model::onnx::proto::GraphProto;

    /// L = f(w), ∇L = g(w): one node each, at any parameters.
    struct Toy([Value; 1]);

    impl Objective for Toy {
        fn parameters(&self) -> &[Value] {
            &self.0
        }

        fn at(&self, graph: &mut Graph, theta: &[Value], pass: &'static str) -> Result<Evaluation> {
            let b = Builder::new(graph, pass);
            let loss = b.named("loss", "Loss", &[&theta[0]], scalar());
            Ok(Evaluation { loss, gradients: vec![b.named("gradient", "Gradient", &[&theta[0]], scalar())] })
        }
    }

    fn penalised(graph: &mut Graph, penalty: &Penalty, coefficients: &Coefficients) -> Penalised {
        let toy = Toy(["w".into()]);
        let stacks = Stacks::single(graph, toy.parameters());
        apply(graph, &toy, penalty, coefficients, &stacks).unwrap()
    }

    /// The graph that the penalty makes of the toy, a line a node, after what is not needed is removed.
    fn text(penalty: Penalty, r: Coefficient, alpha: Coefficient) -> Vec<String> {
        let float = |name| scalar_info(name, DataType::Float);
        let input = vec![float("w"), float("r"), float("alpha")];
        let mut graph = Graph::new(GraphProto { input, ..Default::default() }).unwrap();
        let penalised = penalised(&mut graph, &penalty, &Coefficients { r, alpha, skip: false, may_overflow: false });
        graph.insert_output(0, float(&penalised.gradients[0]));
        graph.remove_unused();
        let line = |n: &gnp_model::onnx::proto::NodeProto| {
            format!("{} = {}({})", n.output[0], n.op_type(), n.input.join(", "))
        };
        graph.nodes().iter().map(|n| line(n).replace("gnp/", "")).collect()
    }

    fn constants(penalty: Penalty) -> Vec<String> {
        text(penalty, Coefficient::Constant(penalty.r), Coefficient::Constant(penalty.alpha))
    }

    const PERTURBATION: [&str; 9] = [
        "gradient/gradient = Gradient(w)",
        "perturbation/gradient_norm/squares/w = ReduceSumSquare(gradient/gradient)",
        "perturbation/gradient_norm/sum_of_squares = Sum(perturbation/gradient_norm/squares/w)",
        "perturbation/gradient_norm = Sqrt(perturbation/gradient_norm/sum_of_squares)",
        "perturbation/scale/nonzero = Greater(perturbation/gradient_norm, perturbation/scale/zero)",
        "perturbation/scale/ratio = Div(perturbation/r, perturbation/gradient_norm)",
        "perturbation/scale = Where(perturbation/scale/nonzero, perturbation/scale/ratio, perturbation/scale/zero)",
        "perturbation/w/epsilon = Mul(gradient/gradient, perturbation/scale)",
        "perturbation/w = Add(w, perturbation/w/epsilon)",
    ];

    #[test]
    fn sam_takes_the_second_gradient_alone() {
        let sam = constants(Penalty { alpha: 1.0, ..Penalty::default() });
        assert_eq!(sam[..9], PERTURBATION);
        assert_eq!(sam[9..], ["perturbed/gradient = Gradient(perturbation/w)"]);
    }

    #[test]
    fn a_step_that_is_plain_when_it_runs_evaluates_no_second_pass() {
        let input = ["w", "r", "alpha"].map(|name| scalar_info(name, DataType::Float)).to_vec();
        let mut graph = Graph::new(GraphProto { input, ..Default::default() }).unwrap();
        let value = |name: &str| Coefficient::Value(name.into());
        let coefficients = Coefficients { r: value("r"), alpha: value("alpha"), skip: true, may_overflow: false };
        let penalised = penalised(&mut graph, &Penalty::default(), &coefficients);
        graph.insert_output(0, scalar_info(&penalised.gradients[0], DataType::Float));
        graph.insert_output(1, scalar_info(&penalised.metrics.perturbed_loss, DataType::Float));
        graph.remove_unused();
        let count = |nodes: &[gnp_model::onnx::proto::NodeProto]| {
            nodes.iter().filter(|n| ["Loss", "Gradient"].contains(&n.op_type())).count()
        };
        assert_eq!(count(graph.nodes()), 2);
        let bodies = graph.nodes().last().unwrap().attribute.iter().map(|a| count(&a.g.as_ref().unwrap().node));
        assert_eq!(bodies.collect::<Vec<_>>(), [2, 0]);
        Graph::new(graph.into_proto()).expect("the graph is well-formed");
    }

    #[test]
    fn gnp_mixes_both() {
        let gnp = constants(Penalty::default());
        assert_eq!(gnp[..9], PERTURBATION);
        assert_eq!(
            gnp[9..],
            [
                "perturbed/gradient = Gradient(perturbation/w)",
                "mix/gradient/gradient/here = Mul(gradient/gradient, mix/one_minus_alpha)",
                "mix/gradient/gradient/there = Mul(perturbed/gradient, mix/alpha)",
                "mix/gradient/gradient = Add(mix/gradient/gradient/here, mix/gradient/gradient/there)",
            ]
        );
    }

    #[test]
    fn what_is_plain_is_one_gradient() {
        for (r, alpha) in [(0.0, 0.8), (0.1, 0.0), (0.0, 0.0)] {
            let penalty = Penalty { r, alpha, ..Penalty::default() };
            assert!(penalty.is_plain());
            assert_eq!(constants(penalty), ["gradient/gradient = Gradient(w)"], "r {r} alpha {alpha}");
        }
    }

    #[test]
    fn normalised_gradient_descent_needs_no_second_pass() {
        let unit = constants(Penalty { alpha: 0.0, mix: Mix::Unit, ..Penalty::default() });
        assert_eq!(unit.iter().filter(|line| line.contains("= Gradient(")).count(), 1);
        assert_eq!(unit.last().unwrap(), "mix/gradient/gradient = Mul(gradient/gradient, mix/one_over_norm)");
    }

    #[test]
    fn with_a_radius_of_0_every_mix_is_plain() {
        let penalty = Penalty { r: 0.0, mix: Mix::Unit, ..Penalty::default() };
        assert_eq!(constants(penalty), ["gradient/gradient = Gradient(w)"]);
        let exposed =
            text(Penalty { mix: Mix::Unit, ..penalty }, Coefficient::Value("r".into()), Coefficient::Constant(0.8));
        let name = "mix/one_minus_alpha_over_norm";
        let choice = format!("{name}/unless_plain = Where({name}/penalised, {name}, mix/one_minus_alpha)");
        assert!(exposed.contains(&choice), "{exposed:#?}");
    }

    #[test]
    fn the_norm_of_a_mix_that_is_the_gradient_is_the_gradients() {
        for (penalty, is_the_same) in [
            (Penalty { r: 0.0, mix: Mix::Unit, ..Penalty::default() }, true),
            (Penalty { alpha: 0.0, ..Penalty::default() }, true),
            (Penalty { alpha: 0.0, mix: Mix::Unit, ..Penalty::default() }, false),
            (Penalty::default(), false),
        ] {
            let input = vec![scalar_info("w", DataType::Float)];
            let mut graph = Graph::new(GraphProto { input, ..Default::default() }).unwrap();
            let coefficients = Coefficients::constant(&penalty);
            let penalised = penalised(&mut graph, &penalty, &coefficients);
            let Metrics { gradient_norm, mixed_gradient_norm, .. } = penalised.metrics;
            assert_eq!(gradient_norm == mixed_gradient_norm, is_the_same, "{penalty:?}");
        }
    }

    #[test]
    fn exposed_numbers_are_values_of_the_graph() {
        let graph = text(Penalty::default(), Coefficient::Value("r".into()), Coefficient::Value("alpha".into()));
        assert!(graph.contains(&"perturbation/scale/ratio = Div(r, perturbation/gradient_norm)".to_owned()));
        assert!(graph.contains(&"mix/one_minus_alpha = Sub(mix/one, alpha)".to_owned()));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (r, alpha) in [(-0.1, 0.8), (f32::NAN, 0.8), (0.1, f32::INFINITY), (0.1, -1.0)] {
            assert!(Penalty { r, alpha, ..Penalty::default() }.validate().is_err(), "r {r} alpha {alpha}");
        }
    }
}
