//! The optimizers by their names: each a chain of transformations with PyTorch's formula and defaults.

use super::scale::factors;
use super::{Adam, Chain, ClipByGlobalNorm, Momentum, RmsProp, Scale, WeightDecay};
use gnp_base::{Error, Result};
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// μ, and Adam's β₁, unless they are given.
const MOMENTUM: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// A named optimizer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// w - lr * g
    Sgd,
    /// Heavy-ball momentum of 0.9
    #[default]
    Momentum,
    /// Nesterov momentum of 0.9
    Nesterov,
    /// Adam; weight decay is coupled
    Adam,
    /// Adam with decoupled weight decay, 0.01 by default
    #[strum(serialize = "adamw")]
    AdamW,
    /// RMSProp, not centred
    #[strum(serialize = "rmsprop")]
    RmsProp,
}

impl OptimizerKind {
    /// Its name, as its flag takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Momentum => "momentum",
            Self::Nesterov => "nesterov",
            Self::Adam => "adam",
            Self::AdamW => "adamw",
            Self::RmsProp => "rmsprop",
        }
    }

    /// Where decay enters unless it is said.
    fn default_decay(self) -> Decay {
        if self == Self::AdamW { Decay::Decoupled } else { Decay::Coupled }
    }
}

/// Where weight decay enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Into the gradient, before the optimizer
    Coupled,
    /// Into the update, behind the optimizer
    Decoupled,
}

/// The way from the penalised gradient to the new parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    /// Its name.
    pub kind: OptimizerKind,
    /// The default learning rate, of the input `lr`; PyTorch's default for this optimizer where none is given.
    pub learning_rate: Option<f32>,
    /// μ or β₁, in place of 0.9.
    pub momentum: Option<f32>,
    /// The weight of decay; by default 0, with AdamW 0.01.
    pub weight_decay: Option<f32>,
    /// Where decay enters; by default decoupled with AdamW, else coupled.
    pub decay: Option<Decay>,
    /// Leave parameters of rank 1 and below out of the decay.
    pub decay_skip_vectors: bool,
    /// The largest norm of the penalised gradient, over all parameters together.
    pub clip_norm: Option<f32>,
    /// Factors of the learning rate of some parameters; the last that matches a parameter counts.
    #[serde(default)]
    pub lr_scale: Vec<Scale>,
    /// Factors of the weight decay of some parameters; the last that matches a parameter counts.
    #[serde(default)]
    pub decay_scale: Vec<Scale>,
}

/// A factor for each parameter, of its learning rate and of its weight decay.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Of the learning rate.
    pub lr: Vec<f32>,
    /// Of the weight decay.
    pub decay: Vec<f32>,
}

impl Factors {
    /// What tells the parameters apart that are trained differently, for each.
    pub fn kinds(&self) -> Vec<[u32; 2]> {
        self.lr.iter().zip(&self.decay).map(|(lr, decay)| [lr.to_bits(), decay.to_bits()]).collect()
    }
}

impl Optimizer {
    /// The learning rate where none is fed.
    ///
    /// ```
    /// use gnp_step::transform::{Optimizer, OptimizerKind};
    /// assert_eq!(Optimizer { kind: OptimizerKind::AdamW, ..Default::default() }.default_learning_rate(), 1e-3);
    /// ```
    pub fn default_learning_rate(&self) -> f32 {
        let default = if self.kind == OptimizerKind::RmsProp { 1e-2 } else { 1e-3 };
        self.learning_rate.unwrap_or(default)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Where one is out of its range.
    pub fn validate(&self) -> Result<()> {
        let numbers = [
            ("the learning rate", "--lr", self.learning_rate, 0.0, f32::MAX),
            ("the momentum", "--momentum", self.momentum, 0.0, 1.0 - f32::EPSILON),
            ("the weight decay", "--weight-decay", self.weight_decay, 0.0, f32::MAX),
            ("the clipping norm", "--clip-norm", self.clip_norm, f32::MIN_POSITIVE, f32::MAX),
        ];
        for (what, flag, number, least, most) in numbers {
            if let Some(number) = number
                && !(least..=most).contains(&number)
            {
                let range = match (least, most) {
                    (0.0, f32::MAX) => "zero or above",
                    (0.0, _) => "from 0 to below 1",
                    _ => "above zero",
                };
                return Err(Error::input(format!("{what} is {number}; expected a finite number {range}"))
                    .help(format!("leave {flag} out for the default")));
            }
        }
        if !self.decay_scale.is_empty() && self.decay_rate() == 0.0 {
            return Err(Error::input("--decay-scale is of no use: there is no weight decay that it could scale")
                .help("give one with --weight-decay"));
        }
        Ok(())
    }

    /// The factors of `parameters`, their names.
    ///
    /// # Errors
    /// Where a glob matches none of them.
    pub fn factors(&self, parameters: &[&str]) -> Result<Factors> {
        let lr = factors(&self.lr_scale, parameters, "--lr-scale")?;
        Ok(Factors { lr, decay: factors(&self.decay_scale, parameters, "--decay-scale")? })
    }

    fn decay_rate(&self) -> f32 {
        self.weight_decay.unwrap_or(if self.kind == OptimizerKind::AdamW { 0.01 } else { 0.0 })
    }

    /// The chain that these settings are of; `factors` has a factor for each of the training's parameters.
    pub fn chain(&self, factors: &Factors) -> Chain {
        let momentum = self.momentum.unwrap_or(MOMENTUM);
        let rate = self.decay_rate();
        let decays = |place: Decay| rate != 0.0 && self.decay.unwrap_or(self.kind.default_decay()) == place;
        let decay = || WeightDecay { rate, skip_vectors: self.decay_skip_vectors, factors: factors.decay.clone() };
        let mut chain = Chain::default();
        if let Some(norm) = self.clip_norm {
            chain = chain.then(ClipByGlobalNorm { norm });
        }
        if decays(Decay::Coupled) {
            chain = chain.then(decay());
        }
        chain = match self.kind {
            OptimizerKind::Sgd => chain,
            OptimizerKind::Momentum => chain.then(Momentum { momentum, nesterov: false }),
            OptimizerKind::Nesterov => chain.then(Momentum { momentum, nesterov: true }),
            OptimizerKind::Adam | OptimizerKind::AdamW => {
                chain.then(Adam { beta1: momentum, beta2: BETA2, epsilon: EPSILON })
            }
            OptimizerKind::RmsProp => chain.then(RmsProp { rho: 0.99, epsilon: EPSILON }),
        };
        if decays(Decay::Decoupled) {
            chain = chain.then(decay());
        }
        chain
    }

    /// The same in two parts, for ONNX Runtime's training API: what stands in the training graph, and the optimizer of
    /// the runtime's own that takes the step. That is its AdamW where it does what these settings say, else its SGD.
    pub fn split(&self, factors: &Factors) -> (Chain, FusedOptimizer) {
        let all_alike = |factors: &[f32]| factors.iter().all(|&factor| factor == 1.0);
        let is_adam = matches!(self.kind, OptimizerKind::Adam | OptimizerKind::AdamW);
        let is_decoupled =
            self.decay.unwrap_or(self.kind.default_decay()) == Decay::Decoupled && self.decay_rate() != 0.0;
        let decays_all = all_alike(&factors.decay) && !self.decay_skip_vectors;
        if !is_adam || !all_alike(&factors.lr) || is_decoupled && !decays_all {
            return (self.chain(factors), FusedOptimizer::Sgd);
        }
        let inside = Self {
            kind: OptimizerKind::Sgd,
            decay: Some(Decay::Coupled),
            weight_decay: Some(if is_decoupled { 0.0 } else { self.decay_rate() }),
            ..self.clone()
        };
        let fused = FusedOptimizer::AdamW {
            beta1: self.momentum.unwrap_or(MOMENTUM),
            beta2: BETA2,
            epsilon: EPSILON,
            weight_decay: if is_decoupled { self.decay_rate() } else { 0.0 },
        };
        (inside.chain(factors), fused)
    }
}

/// An optimizer of ONNX Runtime's training API, which takes the step outside of the training graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum FusedOptimizer {
    /// θ − lr·g: `SGDOptimizerV2`.
    #[default]
    Sgd,
    /// PyTorch's AdamW, all parameters alike: `AdamWOptimizer`. The runtime keeps its two moments.
    AdamW {
        /// β₁.
        beta1: f32,
        /// β₂.
        beta2: f32,
        /// ε.
        epsilon: f32,
        /// The weight of decoupled decay.
        weight_decay: f32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_before_there_were_factors_are_read() {
        let json = r#"{"kind":"adamw","learning_rate":null,"momentum":0.5,"weight_decay":null,"decay":"coupled",
            "decay_skip_vectors":true,"clip_norm":1.0}"#;
        let expected = Optimizer {
            kind: OptimizerKind::AdamW,
            momentum: Some(0.5),
            decay: Some(Decay::Coupled),
            decay_skip_vectors: true,
            clip_norm: Some(1.0),
            ..Optimizer::default()
        };
        assert_eq!(serde_json::from_str::<Optimizer>(json).unwrap(), expected);
    }
}
