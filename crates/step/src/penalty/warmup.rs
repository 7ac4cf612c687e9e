//! Warming the penalty up (Zhao, Zhang, Hu, "When Will Gradient Regularization Be Harmful?", ICML 2024, arXiv
//! 2406.09723).

use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Fact, Value};
use gnp_model::onnx::DataType;
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What grows in the first steps, by s = min(1, steps done / warm-up steps); s = 1 where the warm-up has no steps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum Warmup {
    /// Nothing: r and alpha are what they are from the first step on
    #[default]
    None,
    /// The radius: r * s
    R,
    /// The weight of the penalty: alpha * s, and so lambda = r * alpha * s
    Lambda,
    /// The steps are plain until the warm-up ends
    Zero,
}

impl Warmup {
    /// Checks that a warm-up has a length.
    ///
    /// # Errors
    /// Where there is one, and `steps` is 0.
    pub(crate) fn check_length(self, steps: u32) -> Result<()> {
        if self == Self::None || steps > 0 {
            return Ok(());
        }
        Err(Error::input("the warm-up of the penalty has no length; expected a number of steps above zero")
            .help("give it with --gr-warmup-steps, or, to gnp-run, --gr-warmup-epochs"))
    }

    /// What r and α are after `steps_done` steps of a warm-up of `warmup_steps`: what [`Self::append`] computes in a
    /// graph.
    ///
    /// ```
    /// use gnp_step::penalty::Warmup;
    /// assert_eq!(Warmup::R.at(1, 4.0, 0.5, 0.75), (0.125, 0.75));
    /// assert_eq!(Warmup::Zero.at(3, 4.0, 0.5, 0.75), (0.0, 0.75));
    /// ```
    pub fn at(self, steps_done: u64, warmup_steps: f32, r: f32, alpha: f32) -> (f32, f32) {
        let done = steps_done as f32;
        let share = if done >= warmup_steps { 1.0 } else { done / warmup_steps };
        match self {
            Self::None => (r, alpha),
            Self::R => (r * share, alpha),
            Self::Lambda => (r, alpha * share),
            Self::Zero => (if done >= warmup_steps { r } else { 0.0 }, alpha),
        }
    }

    /// Appends what r and α are after `steps_done` steps (an int64 scalar) of `warmup_steps` (a float scalar).
    pub fn append(
        self,
        b: &Builder<'_>,
        r: &Value,
        alpha: &Value,
        steps_done: &Value,
        warmup_steps: &Value,
    ) -> (Value, Value) {
        b.set_scope("warmup");
        let done = b.cast(steps_done, DataType::Float);
        let over = b.compare("GreaterOrEqual", &done, warmup_steps);
        if self == Self::Zero {
            return (b.mul(r, b.cast(over, DataType::Float)), alpha.clone());
        }
        let one = b.number_of(1.0, DataType::Float);
        let share = b.select(over, one, b.div(done, warmup_steps));
        b.declare(&share, Fact::with_sizes(DataType::Float, &[]));
        match self {
            Self::None | Self::Zero => (r.clone(), alpha.clone()),
            Self::R => (b.mul(r, share), alpha.clone()),
            Self::Lambda => (r.clone(), b.mul(alpha, share)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_engine::EngineOptions;
    use gnp_engine::{Engine as _, Rates, Tract};
    use gnp_model::graph::Graph;
    use gnp_model::onnx::proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto};
    use prost::Message as _;

    const NUMBERS: [(&str, f32); 3] = [("r", 0.3), ("alpha", 0.7), ("warmup_steps", 7.0)];

    /// A step model that returns what the warm-up makes of its hyperparameters, and counts its steps.
    fn counting(warmup: Warmup) -> ModelProto {
        let float = Fact::with_sizes(DataType::Float, &[]);
        let whole = Fact::with_sizes(DataType::Int64, &[]);
        let mut input: Vec<_> = NUMBERS.iter().map(|(name, _)| float.info(name)).collect();
        input.push(whole.info("step"));
        let raw = |(name, value): &(&str, f32)| {
            TensorProto::raw(*name, DataType::Float, &[], value.to_le_bytes().to_vec().into())
        };
        let mut initializer: Vec<_> = NUMBERS.iter().map(raw).collect();
        initializer.push(TensorProto::raw("step", DataType::Int64, &[], vec![0; 8].into()));
        let mut graph =
            Graph::new(GraphProto { input, initializer, name: Some("counting".into()), ..Default::default() }).unwrap();
        let b = Builder::new(&mut graph, "test");
        let [r, alpha, steps] = NUMBERS.map(|(name, _)| Value::from(name));
        let (r, alpha) = warmup.append(&b, &r, &alpha, &"step".into(), &steps);
        let next = b.add(Value::from("step"), b.int64(1));
        for (value, name, fact) in [(&r, "loss", &float), (&alpha, "alpha.now", &float), (&next, "step.next", &whole)] {
            graph.append_alias(value, name);
            graph.insert_output(graph.proto().output.len(), fact.info(name));
        }
        let pairs =
            StringStringEntryProto { key: Some("gnp.state".into()), value: Some(r#"[["step","step.next"]]"#.into()) };
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(18) }],
            metadata_props: vec![pairs],
            graph: Some(graph.into_proto()),
            ..Default::default()
        }
    }

    #[test]
    fn the_graph_computes_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counting.onnx");
        for warmup in [Warmup::None, Warmup::R, Warmup::Lambda, Warmup::Zero] {
            std::fs::write(&path, counting(warmup).encode_to_vec()).unwrap();
            let step = gnp_model::onnx::read(&path).unwrap();
            let mut engine = Tract::load(&step, None, &EngineOptions::default()).unwrap();
            let others = if warmup == Warmup::None { [].into() } else { [("warmup_steps".to_owned(), 0.0)].into() };
            let no_steps = Rates { others, ..Rates::new(0.0) };
            assert_eq!(warmup.at(0, 0.0, 0.3, 0.7), (0.3, 0.7));
            assert_eq!(
                engine.rehearse(&[], &no_steps).unwrap(),
                [0.3, 0.7].map(gnp_tensor::Tensor::scalar),
                "{warmup:?}"
            );
            for done in 0..10 {
                let returned = engine.step(&[], &Rates::new(0.0)).unwrap();
                let numbers: Vec<_> = returned.iter().filter_map(|tensor| tensor.to_scalar()).collect();
                let (r, alpha) = warmup.at(done, 7.0, 0.3, 0.7);
                // tract multiplies by the reciprocal where the graph divides.
                let is_rounded = |(found, own): (&f32, f32)| (found - own).abs() <= f32::EPSILON * own;
                assert!(
                    numbers.len() == 2 && numbers.iter().zip([r, alpha]).all(is_rounded),
                    "{warmup:?} {done} {numbers:?}"
                );
            }
        }
    }
}
