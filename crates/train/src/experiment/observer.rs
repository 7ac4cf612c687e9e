//! What a run tells while it goes on.

use gnp_engine::Profile;
use gnp_model::onnx::Copying;
use gnp_report::Event;
use gnp_step::rewrite::StepReport;
use std::path::Path;

/// Something that a user may want to know before the training begins.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// A step model was made of an ordinary one.
    Made(&'a StepReport),
    /// A sentence.
    Info(&'a str),
    /// A sentence for those who want to know more.
    Detail(&'a str),
}

/// What a run is going to do.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Its epochs in all.
    pub epochs: u64,
    /// Its steps in all.
    pub steps: u64,
    /// The steps that are done already, where it goes on.
    pub done: u64,
    /// Whether there are test data that it is evaluated on.
    pub has_test: bool,
}

/// Told of what happens in a run.
pub trait Observer {
    /// Something to know before the training begins.
    fn notice(&mut self, notice: Notice<'_>) {
        let _ = notice;
    }

    /// The training begins.
    fn begin(&mut self, overview: &Overview) {
        let _ = overview;
    }

    /// A step or an epoch was done.
    fn event(&mut self, event: &Event) {
        let _ = event;
    }

    /// The steps are taken, and this is where their time went. The engine's trace is in `trace`, in the run's folder.
    fn profile(&mut self, profile: &Profile, trace: &Path) {
        let _ = (profile, trace);
    }

    /// The model's external data is copied for the results.
    fn copying(&mut self, copying: &Copying<'_>) {
        let _ = copying;
    }
}

/// An observer that ignores everything.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Observer for Quiet {}
