//! An artifact in, an artifact out: the same inputs, outputs and state, with the penalised gradient in the
//! accumulators.

use crate::objective::Artifact;
use crate::pass;
use crate::penalty::{self, Coefficient, Coefficients, Metrics, Penalty};
use gnp_base::contract::{ALPHA, CONFIG_KEY, R, VERSION_KEY};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Graph, scalar_info};
use gnp_model::onnx::{DataType, Model};
use serde::{Deserialize, Serialize};

/// The oldest `ai.onnx` operator set that has the operators that are added, with broadcasting.
const OLDEST_OPSET: i64 = 9;

/// What to put into an artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The penalty.
    #[serde(flatten)]
    pub penalty: Penalty,
    /// Make r the input [`R`] (float scalar) in place of a constant.
    pub expose_r: bool,
    /// Make α the input [`ALPHA`] (float scalar) in place of a constant.
    pub expose_alpha: bool,
    /// Return the [`Metrics`] after the outputs that the application knows.
    pub metrics: bool,
}

impl Settings {
    /// The settings that stand in the metadata of a rewritten model; none in one that was not rewritten.
    ///
    /// # Errors
    /// Where the metadata is damaged.
    pub fn of(model: &Model) -> Result<Option<Self>> {
        let Some(config) = model.metadata(CONFIG_KEY) else { return Ok(None) };
        serde_json::from_str(config).map(Some).map_err(|e| {
            Error::format(format!("the settings in the model's metadata `{CONFIG_KEY}` are damaged: {e}"))
                .in_file(model.path())
                .help("rewrite the original training model again")
        })
    }

    /// Whether the penalty's numbers are constants of plain training.
    pub fn is_plain(&self) -> bool {
        // A number that is exposed may be any.
        let constant = |number: f32, exposed: bool| if exposed { f32::NAN } else { number };
        let r = constant(self.penalty.r, self.expose_r);
        let alpha = constant(self.penalty.alpha, self.expose_alpha);
        Penalty { r, alpha, ..self.penalty }.is_plain()
    }
}

/// Puts the penalty into a training model.
///
/// # Errors
/// Where the settings are out of range, the operator set is too old, or the objective cannot be evaluated twice.
pub fn penalise(model: &mut Model, artifact: &Artifact, settings: &Settings) -> Result<()> {
    settings.penalty.validate()?;
    penalise_graph(model, artifact, settings).map_err(|e| e.in_file(model.path()))?;
    let config =
        serde_json::to_string(settings).map_err(|e| Error::internal(format!("cannot encode the settings: {e}")))?;
    model.add_metadata(VERSION_KEY, env!("CARGO_PKG_VERSION"));
    model.add_metadata(CONFIG_KEY, config);
    Ok(())
}

fn penalise_graph(model: &mut Model, artifact: &Artifact, settings: &Settings) -> Result<()> {
    match model.opset("") {
        Some(version) if version >= OLDEST_OPSET => {}
        version => {
            let found = version.map_or("none".to_owned(), |v| v.to_string());
            return Err(Error::unsupported(format!(
                "the model's ai.onnx operator set is {found}; expected {OLDEST_OPSET} or newer"
            ))
            .help("make the artifacts again from a forward model of a newer operator set"));
        }
    }
    // The graph is put back only when all went well, which is the only case in which the model is used again.
    let mut graph = Graph::new(std::mem::take(&mut model.graph))?;
    artifact.check_order(&graph)?;
    let mut position = artifact.labels_end();
    let mut coefficient = |name: &str, exposed: bool, number: f32| {
        if !exposed {
            return Ok(Coefficient::Constant(number));
        }
        graph.insert_input(position, scalar_info(name, DataType::Float))?;
        position += 1;
        Ok(Coefficient::Value(name.into()))
    };
    let r = coefficient(R, settings.expose_r, settings.penalty.r)?;
    let alpha = coefficient(ALPHA, settings.expose_alpha, settings.penalty.alpha)?;
    let penalised = penalty::apply(&mut graph, artifact, &settings.penalty, &Coefficients { r, alpha, skip: false })?;
    artifact.accumulate(&mut graph, &penalised.gradients);
    if settings.metrics {
        return_metrics(&mut graph, artifact, &penalised.metrics)?;
    }
    graph.remove_unused();
    model.graph = graph.into_proto();
    Ok(())
}

fn return_metrics(graph: &mut Graph, artifact: &Artifact, metrics: &Metrics) -> Result<()> {
    for (i, (name, value)) in metrics.named().into_iter().enumerate() {
        Builder::new(graph, pass::METRICS).alias(value, name)?;
        graph.insert_output(artifact.results_end() + i, scalar_info(name, DataType::Float));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::artifact::is_accumulator;
    use gnp_model::onnx;

    #[test]
    fn accumulators_stay_where_nothing_reads_what_they_return() {
        let mut model = onnx::read("../../models/mlp/training_model.onnx").unwrap();
        model.graph.output.truncate(1);
        let artifact = Artifact::recognise(&model).unwrap();
        penalise(&mut model, &artifact, &Settings::default()).unwrap();
        let accumulators: Vec<_> = model.graph.node.iter().filter(|n| is_accumulator(n)).collect();
        assert_eq!(accumulators.len(), 6);
        assert!(accumulators.iter().all(|n| n.input[1].starts_with("gnp/mix/")));
    }
}
