//! The sessions that compute a step: one, or one a branch, and for steps that are recorded one more each, which knows
//! the sizes of the batch: what follows from sizes alone is then computed when it is made, and not by the processor in
//! each step, which a recording cannot have.

use super::api::Api;
use super::choice::Choice;
use super::copying::data_type;
use super::passes::{Passes, recordable};
use super::profiler::Profiler;
use super::session::{Binding, Session};
use super::session_options::SessionOptions;
use crate::StepModel;
use crate::step_model::read_names;
use foldhash::HashSet;
use gnp_base::{Error, Result};
use gnp_model::graph::Fact;
use gnp_model::onnx::Model;
use gnp_tensor::Tensor;

/// The sessions that compute a step. One of a branch is made when a step first takes it.
pub(super) struct Steps {
    api: &'static Api,
    passes: Passes,
    options: SessionOptions,
    /// For sessions that record, where they are to.
    recording: Option<SessionOptions>,
    choice: Option<Choice>,
    /// One, or two where there is a choice: where the condition does not hold, and where it does.
    ways: Vec<Way>,
}

/// One way to compute a step.
struct Way {
    model: Model,
    /// For batches of any size that the model takes.
    made: Option<Made>,
    /// For steps that are recorded, and the shapes of their batches.
    sized: Option<(Vec<Vec<usize>>, Made)>,
    /// Why it is not recorded, where that was tried.
    refused: Option<String>,
}

/// A session, and what it takes.
pub(super) struct Made {
    /// What is bound in recorded runs, by which place of the state is read.
    pub(super) bound: [Option<Binding>; 2],
    pub(super) session: Session,
    /// Whether its runs can be recorded.
    pub(super) records: bool,
    /// How many ordinary runs it has had.
    pub(super) ordinary_runs: usize,
    /// Of each hyperparameter, whether the graph reads it.
    pub(super) hyperparameter_is_read: Vec<bool>,
    /// Of each part of the state, whether the graph reads it.
    pub(super) state_is_read: Vec<bool>,
    layout: Option<String>,
}

impl Made {
    fn new(session: Session, records: bool, graph: &Model, model: &StepModel, layout: Option<String>) -> Self {
        let read = read_names(graph);
        Self {
            bound: [None, None],
            session,
            records,
            ordinary_runs: 0,
            hyperparameter_is_read: model.hyperparameters.iter().map(|h| read.contains(&*h.name)).collect(),
            state_is_read: model.state.iter().map(|slot| read.contains(&*slot.port.name)).collect(),
            layout,
        }
    }
}

impl Steps {
    pub(super) fn new(
        api: &'static Api,
        passes: Passes,
        options: SessionOptions,
        recording: Option<SessionOptions>,
        choice: Option<Choice>,
        models: impl IntoIterator<Item = Model>,
    ) -> Self {
        let way = |model| Way { model, made: None, sized: None, refused: None };
        Self { api, passes, options, recording, choice, ways: models.into_iter().map(way).collect() }
    }

    /// A step that `session` computes, which was made of the file of `file`.
    pub(super) fn of_session(
        api: &'static Api,
        passes: Passes,
        options: SessionOptions,
        session: Session,
        file: &Model,
        model: &StepModel,
    ) -> Self {
        let made = Some(Made::new(session, false, file, model, None));
        let way = Way { model: file.clone(), made, sized: None, refused: None };
        Self { api, passes, options, recording: None, choice: None, ways: vec![way] }
    }

    /// Has the sessions that are made from now on recorded.
    pub(super) fn profiled(&self) -> Result<Profiler> {
        Profiler::begin(&self.options)
    }

    /// Goes on from a state, whose tensors are in the order of the slots.
    pub(super) fn set_state(&mut self, tensors: &[&Tensor]) -> Result<()> {
        self.choice.as_mut().map_or(Ok(()), |choice| choice.set_state(tensors))
    }

    /// Which way a step with the hyperparameters `given` takes.
    pub(super) fn way(&mut self, given: &[(usize, Tensor)]) -> Result<usize> {
        self.choice.as_mut().map_or(Ok(0), |choice| choice.holds(given).map(usize::from))
    }

    /// The step that was asked about last was taken.
    pub(super) fn go_on(&mut self) {
        if let Some(choice) = &mut self.choice {
            choice.go_on();
        }
    }

    /// The session of a way for batches of these `shapes`. With `is_steady`, more of the shapes are to come.
    ///
    /// # Errors
    /// Where the runtime refuses the graph.
    pub(super) fn for_batch(
        &mut self,
        way: usize,
        model: &StepModel,
        shapes: &[Vec<usize>],
        is_steady: bool,
    ) -> Result<&mut Made> {
        let Some(known) = self.ways.get(way) else { return Err(Error::internal("a step has no such branch")) };
        let has = known.sized.as_ref().map(|(sized, _)| sized == shapes);
        if self.recording.is_some() && known.refused.is_none() && (has.is_none() || has == Some(false) && is_steady) {
            let made = self.sized(way, model, shapes);
            let way = &mut self.ways[way];
            match made {
                Ok(made) => way.sized = Some((shapes.to_vec(), made)),
                Err(why) => way.refused = Some(why),
            }
        }
        if self.ways[way].sized.as_ref().is_some_and(|(sized, _)| sized == shapes) {
            let sized = self.ways[way].sized.as_mut().map(|(_, made)| made);
            return sized.ok_or_else(|| Error::internal("a session was made, and is not there"));
        }
        self.made(way, model)
    }

    /// A session that records steps with batches of these `shapes`; why there is none otherwise.
    fn sized(&self, way: usize, model: &StepModel, shapes: &[Vec<usize>]) -> Result<Made, String> {
        let (Some(recording), Some(way)) = (&self.recording, self.ways.get(way)) else {
            return Err("nothing records".to_owned());
        };
        let mut graph = without_unread(&way.model, model);
        fix_sizes(&mut graph, model, shapes);
        let graph = self.passes.apply(&graph).map_err(|e| reason(&e))?;
        if let Some(obstacle) = recordable::obstacle(&graph, model, |name| recording.has_kernel(name)) {
            return Err(obstacle);
        }
        let layout = self.passes.layout(&graph);
        let session = Session::of_model(self.api, graph, &fed(model), recording).map_err(|e| reason(&e))?;
        Ok(Made::new(session, true, &way.model, model, layout))
    }

    /// The session of a way, for batches of any size.
    ///
    /// # Errors
    /// Where the runtime refuses the graph.
    pub(super) fn made(&mut self, way: usize, model: &StepModel) -> Result<&mut Made> {
        let Self { api, passes, options, ways, .. } = self;
        let Some(way) = ways.get_mut(way) else { return Err(Error::internal("a step has no such branch")) };
        if way.made.is_none() {
            let graph = passes.apply(&without_unread(&way.model, model))?;
            let layout = passes.layout(&graph);
            let session = Session::of_model(api, graph, &fed(model), options)?;
            way.made = Some(Made::new(session, false, &way.model, model, layout));
        }
        way.made.as_mut().ok_or_else(|| Error::internal("a session was made, and is not there"))
    }

    /// Why our kernels do not compute, where they were to.
    pub(super) fn lacks(&self) -> Option<&str> {
        self.options.lacks()
    }

    /// Whether steps are to be recorded.
    pub(super) fn records(&self) -> bool {
        self.recording.is_some()
    }

    /// A recorded step failed: this way's steps are not recorded.
    pub(super) fn refuse(&mut self, way: usize, error: &Error) {
        if let Some(way) = self.ways.get_mut(way) {
            (way.sized, way.refused) = (None, Some(reason(error)));
        }
    }

    /// How many nodes of a step our own kernels compute.
    pub(super) fn kernels(&self) -> usize {
        self.all_made().map(|made| made.session.kernels).max().unwrap_or(0)
    }

    /// How images lie in memory, where there are any.
    pub(super) fn layout(&self) -> Option<&str> {
        self.all_made().find_map(|made| made.layout.as_deref())
    }

    /// Why steps are not recorded, of those that were to be.
    pub(super) fn refused(&self) -> Option<&str> {
        self.ways.iter().find_map(|way| way.refused.as_deref())
    }

    fn all_made(&self) -> impl Iterator<Item = &Made> {
        self.ways.iter().flat_map(|way| way.sized.as_ref().map(|(_, made)| made).into_iter().chain(&way.made))
    }
}

/// What ONNX Runtime says, without what it is about.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    let said = text.rsplit_once("ONNX Runtime: ").map_or(&*text, |(_, said)| said);
    in_short(said).to_owned()
}

/// What a card refuses, without the lines of ONNX Runtime's source that it was called from.
fn in_short(said: &str) -> &str {
    let failure = said.find("CUDA failure").map_or(said, |begin| &said[begin..]);
    failure.split(" ; ").next().unwrap_or(failure)
}

/// The names of the state, which is given with each step.
fn fed(model: &StepModel) -> HashSet<&str> {
    model.state.iter().map(|slot| slot.port.name.as_str()).collect()
}

/// Says of the batch that it has these shapes.
fn fix_sizes(graph: &mut Model, model: &StepModel, shapes: &[Vec<usize>]) {
    for (port, shape) in model.batch.iter().zip(shapes) {
        let sizes: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        if let Some(input) = graph.graph.input.iter_mut().find(|input| input.name() == port.name) {
            *input = Fact::with_sizes(data_type(port.element), &sizes).info(&port.name);
        }
    }
}

/// The step model without the parts of the state that its graph does not read: ONNX Runtime takes no value for them.
fn without_unread(step: &Model, model: &StepModel) -> Model {
    let read = read_names(step);
    let slots = model.state.iter().map(|slot| slot.port.name.as_str());
    let unread: HashSet<&str> = slots.filter(|name| !read.contains(name)).collect();
    let mut rest = step.clone();
    rest.graph.input.retain(|input| !unread.contains(input.name()));
    rest.graph.initializer.retain(|tensor| !unread.contains(tensor.name()));
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_cards_refusal_the_words_are_told() {
        let long =
            "/src/cuda_call.cc:154 onnxruntime::CudaCall(...) CUDA failure 901: a previous error ; GPU=0 ; line=61";
        assert_eq!(in_short(long), "CUDA failure 901: a previous error");
        assert_eq!(in_short("all nodes have to be on the card"), "all nodes have to be on the card");
    }
}
