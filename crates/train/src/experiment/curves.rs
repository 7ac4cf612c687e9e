//! TensorBoard's file of a run.

use gnp_base::{Error, Result};
use gnp_report::{Event, TensorBoard};
use std::path::Path;

/// TensorBoard's file of a run, which goes on without where it cannot be written, and says so at its end.
pub(super) struct Curves {
    file: TensorBoard,
    failure: Option<Error>,
    /// Whether the run has taken a step, now or before.
    pub has_steps: bool,
}

impl Curves {
    /// Those of a run that goes on after `done` steps.
    pub fn begin(root: &Path, done: u64) -> Result<Self> {
        let file = TensorBoard::create(root, (done > 0).then_some(done))?;
        Ok(Self { file, failure: None, has_steps: done > 0 })
    }

    pub fn log(&mut self, event: &Event) {
        self.has_steps = true;
        if self.failure.is_none() {
            self.failure = self.file.log(event).err();
        }
    }

    pub fn finish(mut self) -> Result<()> {
        self.failure.map_or_else(|| self.file.flush(), Err)
    }
}
