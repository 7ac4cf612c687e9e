//! The library's one error type: what is wrong, where, and what the user can do about it.

use crate::escaped;
use crate::naming::{in_words, text_in_words};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// `Result` with the library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong: for programs, which may go on after some and not after others. It decides the exit
/// code of the binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for does not fit, or cannot be had: a choice, or the model and the data together.
    Input,
    /// A file is damaged, or not of the format that it should be.
    Format,
    /// The model has what gnp or an engine does not know how to train.
    Unsupported,
    /// The operating system refused: no such file, no permission, a full disk. [`Error::source`] is its own error.
    ///
    /// [`Error::source`]: std::error::Error::source
    Io,
    /// An engine is missing, or failed at what it was given.
    Engine,
    /// A loss, a gradient or a weight is no longer a finite number.
    Diverged,
    /// A defect of gnp.
    Internal,
}

/// An error with the file and the node it is about and, where there is one, a way out. In words it is one line, without
/// control characters, whatever is in the names.
///
/// ```
/// use gnp_base::Error;
/// let e = Error::input("the tensor has no data").at_node("conv1", "Conv").in_file("m.onnx").help("export the model again");
/// assert_eq!(e.to_string(), "m.onnx: node `conv1` (Conv): the tensor has no data");
/// assert_eq!(e.help_text(), Some("export the model again"));
/// assert_eq!(e.exit_code(), 2);
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    source: Option<io::Error>,
    message: String,
    file: Option<PathBuf>,
    node: Option<Node>,
    help: Option<String>,
}

#[derive(Debug)]
struct Node {
    /// Empty where it has none.
    name: String,
    operator: String,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.name {
            "" => write!(f, "an unnamed {} node", self.operator),
            name => write!(f, "node `{name}` ({})", self.operator),
        }
    }
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = text_in_words(&message.into()).into_owned();
        Self(Box::new(Inner { kind, source: None, message, file: None, node: None, help: None }))
    }

    /// What was asked for does not fit ([`ErrorKind::Input`]).
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// A file is not what it should be ([`ErrorKind::Format`]).
    pub fn format(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Format, message)
    }

    /// A model has what cannot be trained ([`ErrorKind::Unsupported`]).
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// An engine is missing or failed ([`ErrorKind::Engine`]).
    pub fn engine(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Engine, message)
    }

    /// Numbers are no longer finite ([`ErrorKind::Diverged`]).
    pub fn diverged(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Diverged, message)
    }

    /// A defect of gnp ([`ErrorKind::Internal`]).
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// An operation on `file` that the operating system refused ([`ErrorKind::Io`]); `doing` completes "cannot …".
    ///
    /// ```
    /// use gnp_base::{Error, ErrorKind};
    /// use std::error::Error as _;
    /// use std::io;
    /// let error = Error::io("write the file", "m.onnx", &io::ErrorKind::StorageFull.into());
    /// assert_eq!(error.kind(), ErrorKind::Io);
    /// let source = error.source().and_then(|source| source.downcast_ref::<io::Error>()).unwrap();
    /// assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    /// ```
    pub fn io(doing: &str, file: impl AsRef<Path>, error: &io::Error) -> Self {
        Self::os(format!("cannot {doing}: {error}"), error).in_file(file)
    }

    /// The same with all of its words.
    pub fn os(message: impl Into<String>, error: &io::Error) -> Self {
        let mut os = Self::new(ErrorKind::Io, message);
        let copy = || io::Error::new(error.kind(), error.to_string());
        os.0.source = Some(error.raw_os_error().map_or_else(copy, io::Error::from_raw_os_error));
        os
    }

    /// Names the file, unless a deeper layer already has.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.file.get_or_insert_with(|| file.as_ref().to_owned());
        self
    }

    /// Names the node and its operator, unless a deeper layer already has.
    #[must_use]
    pub fn at_node(mut self, name: &str, operator: &str) -> Self {
        self.0.node.get_or_insert_with(|| {
            let (name, operator) = in_words(name, operator);
            Node { name, operator }
        });
        self
    }

    /// Says what the user can do, unless a deeper layer already has.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.0.help.get_or_insert_with(|| text_in_words(&text.into()).into_owned());
        self
    }

    /// Speaks of `shown` where it would name a file in `hidden`, a folder of our own that is gone when the user reads
    /// this.
    #[must_use]
    pub fn in_place_of(mut self, hidden: &Path, shown: &Path) -> Self {
        let inner = &mut *self.0;
        if inner.file.as_ref().is_some_and(|file| file.starts_with(hidden)) {
            inner.file = Some(shown.to_owned());
        }
        // An engine may have made its path absolute.
        let Some(name) = hidden.file_name().map(|name| name.to_string_lossy()) else { return self };
        let is_end = |c: char| c.is_whitespace() || "`'\",;()".contains(c);
        let node = inner.node.as_mut().map(|node| &mut node.name);
        for text in [Some(&mut inner.message), node, inner.help.as_mut()].into_iter().flatten() {
            let mut seen = 0;
            while let Some(at) = text[seen..].find(&*name).map(|at| seen + at) {
                let begin = text[..at].rfind(is_end).map_or(0, |end| end + 1);
                let end = text[at..].find(is_end).map_or(text.len(), |length| at + length);
                text.replace_range(begin..end, &shown.to_string_lossy());
                seen = begin + shown.to_string_lossy().len();
            }
        }
        self
    }

    /// Lets message and help name settings as a caller knows them. They stand there as flags of the two programs,
    /// `--name`; `write` gives each name its other form. What is a command line of a program stays one.
    ///
    /// ```
    /// use gnp_base::Error;
    /// let error = Error::input("no loss: see --loss, or --loss-output");
    /// let error = error.in_terms_of(|name| format!("{}=", name.replace('-', "_")));
    /// assert_eq!(error.to_string(), "no loss: see loss=, or loss_output=");
    /// let command = "none is installed: `gnp-run engines install stock --device cuda`";
    /// assert_eq!(Error::input(command).in_terms_of(|_| String::new()).to_string(), command);
    /// ```
    #[must_use]
    pub fn in_terms_of(mut self, write: impl Fn(&str) -> String) -> Self {
        let inner = &mut *self.0;
        for text in [Some(&mut inner.message), inner.help.as_mut()].into_iter().flatten() {
            *text = flags_written(text, &write);
        }
        self
    }

    /// Adds to what the user can do.
    #[must_use]
    pub fn more_help(mut self, text: &str) -> Self {
        self.0.help = Some(self.0.help.map_or_else(|| text.to_owned(), |help| format!("{help}\n{text}")));
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the user can do, where that is known.
    pub fn help_text(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The file that it is about, if one.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The node that it is about, if one: its name, which may be empty, and its operator.
    pub fn node(&self) -> Option<(&str, &str)> {
        self.0.node.as_ref().map(|node| (&*node.name, &*node.operator))
    }

    /// The exit code of a program that ends with this error: 2 for the user's to mend, 1 for ours.
    pub fn exit_code(&self) -> u8 {
        match self.0.kind {
            ErrorKind::Internal => 1,
            _ => 2,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.0.file {
            write!(f, "{}: ", escaped::line(&file.to_string_lossy()))?;
        }
        if let Some(node) = &self.0.node {
            write!(f, "{}: ", escaped::line(&node.to_string()))?;
        }
        f.write_str(&escaped::line(&self.0.message))
    }
}

impl std::error::Error for Error {
    /// The operating system's error, where there is one; the message has its words already.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

/// `text` with each flag, `--name`, written otherwise, but for quoted command lines.
fn flags_written(text: &str, write: &dyn Fn(&str) -> String) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| match (index % 2, part.starts_with("gnp-")) {
        (1, true) => part.to_owned(),
        _ => flags_written_in(part, write),
    });
    parts.collect::<Vec<_>>().join("`")
}

fn flags_written_in(text: &str, write: &dyn Fn(&str) -> String) -> String {
    let mut parts = text.split("--");
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_end = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let (name, rest) = part.split_at(part.find(is_end).unwrap_or(part.len()));
        written += &if name.is_empty() { "--".to_owned() } else { write(name) };
        written += rest;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_our_own_is_not_spoken_of() {
        let (hidden, shown) = (Path::new("runs/.gnp-x"), Path::new("m.onnx"));
        let error =
            Error::input("cannot load `/a/runs/.gnp-x/step.onnx`: it is broken").in_file("runs/.gnp-x/step.onnx");
        assert_eq!(error.in_place_of(hidden, shown).to_string(), "m.onnx: cannot load `m.onnx`: it is broken");
        let error = Error::input("`out/x` is there").in_place_of(Path::new("out"), Path::new("out"));
        assert_eq!(error.to_string(), "`out` is there");
        let error = Error::input("no data").in_file("runs/data.npz").in_place_of(hidden, shown);
        assert_eq!(error.to_string(), "runs/data.npz: no data");
    }
}
