//! The names of checkpoints: when they were written.

use crate::Progress;

/// When a checkpoint is written, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    /// The epochs that are over.
    pub epoch: u64,
    /// The batches of the next one that are done.
    pub batch: u64,
}

impl Moment {
    pub fn of(progress: &Progress) -> Self {
        Self { epoch: progress.epoch, batch: progress.batch }
    }

    pub fn name(self) -> String {
        match self {
            Self { epoch, batch: 0 } => format!("epoch-{epoch:05}"),
            Self { epoch, batch } => format!("epoch-{epoch:05}-batch-{batch:06}"),
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("epoch-")?;
        let (epoch, batch) = name.split_once("-batch-").unwrap_or((name, "0"));
        Some(Self { epoch: epoch.parse().ok()?, batch: batch.parse().ok()? })
    }
}
