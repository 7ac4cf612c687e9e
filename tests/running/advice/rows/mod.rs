//! What fails with an advice, a file a part of the programs.

/// A training that succeeds as it is.
macro_rules! run {
    ($more:literal) => {
        run!(1, $more)
    };
    ($epochs:literal, $more:literal) => {
        concat!("gnp-run classifier.onnx --data data.npz --epochs ", $epochs, " --engine tract --out out ", $more)
    };
}

mod artifacts;
mod engines;
mod inputs;
mod rewriting;
mod running;

/// How an advice is followed. The flags must be in the text.
pub(super) enum Follow {
    /// With the value that the advice gives, each time that it names the flag.
    AsSaid(&'static str),
    /// With a value that fits, in place of the one that was given where there was one.
    With(&'static str, &'static str),
    /// Without the flag and its value.
    Without(&'static str),
    /// By another command before this one.
    After(&'static str),
    /// By another command in its place.
    Instead(&'static str),
}

/// A command that fails, and how its advice is followed.
pub(super) struct Row {
    /// What fails, in a folder of the files of `files::prepare`; after other commands, where there are some before a
    /// `;`.
    pub(super) command: &'static str,
    /// A part of the error.
    pub(super) says: &'static str,
    /// A part of the help.
    pub(super) helps: &'static str,
    pub(super) follow: Vec<Follow>,
    /// A part of what is said then; none where the command then succeeds.
    pub(super) then: Option<&'static str>,
}

fn row(command: &'static str, says: &'static str, helps: &'static str, follow: Vec<Follow>) -> Row {
    Row { command, says, helps, follow, then: None }
}

impl Row {
    /// Says something else once the advice is followed.
    fn then(self, says: &'static str) -> Self {
        Self { then: Some(says), ..self }
    }
}

/// All rows.
pub(super) fn rows() -> Vec<Row> {
    [rewriting::rows(), running::rows(), artifacts::rows(), engines::rows(), inputs::rows()]
        .into_iter()
        .flatten()
        .collect()
}
