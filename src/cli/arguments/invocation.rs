//! What concerns one invocation of a run and no other.

use clap::Args;

/// Arguments that no configuration file holds: they are of one invocation.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq)]
#[command(next_help_heading = "Output")]
pub struct InvocationArguments {
    /// Go on with the run in the output folder, at the very batch where it was stopped
    ///
    /// The other options must be as they were; --epochs may change where the schedule is constant or stepped. The
    /// result is that of a run that was never stopped, to the bit on one machine; random draws (Dropout) go on where
    /// they were. A run that diverged goes on from its last good weights, and rates may change: --lr, the schedule,
    /// --r, --alpha.
    #[arg(long)]
    pub resume: bool,
    /// Replace the run in the output folder
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    /// Say what is used: runtime, data, model
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
}
