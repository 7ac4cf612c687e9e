//! The processes that run inputs, and what becomes of them.

use crate::trace;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What an input may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a process may take to say where it is.
const GRACE: Duration = Duration::from_secs(3);

/// How an input failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The input's number.
    pub number: u64,
    /// `panic`, `memory`, `hang`, `segmentation fault`, …
    pub kind: String,
    /// The place in the source, or the function.
    pub place: String,
    /// What was said.
    pub message: String,
}

/// A process under watch.
pub struct Watched {
    child: Child,
    lines: Receiver<String>,
    /// The input under way.
    number: Option<u64>,
}

/// What happened next.
pub enum Event {
    /// Another input begins; the last one came to a result, or did not.
    Begun(u64, bool),
    /// An input failed; the process goes on with others where it can.
    Failed(Failure),
    /// The process is over.
    Over,
}

impl Watched {
    /// Starts the process.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(Result::ok));
            // Where nobody takes them any more, the process is being ended.
            let _ = lines.into_iter().try_for_each(|line| sender.send(line));
        });
        Ok(Self { child, lines, number: None })
    }

    /// Waits for what happens next; none where nothing has when it is time to `end`.
    pub fn next(&mut self, end: Option<Instant>) -> Option<Event> {
        let until_end = end.map_or(PATIENCE, |end| end.saturating_duration_since(Instant::now()));
        match self.lines.recv_timeout(PATIENCE.min(until_end)) {
            Ok(line) => Some(self.read(&line)),
            Err(RecvTimeoutError::Timeout) if until_end < PATIENCE => None,
            Err(RecvTimeoutError::Timeout) => Some(self.ask()),
            Err(RecvTimeoutError::Disconnected) => Some(self.died()),
        }
    }

    fn read(&mut self, line: &str) -> Event {
        let parts: Vec<&str> = line.splitn(4, '\t').collect();
        match parts[..] {
            ["S", number, result] => {
                self.number = number.parse().ok();
                Event::Begun(self.number.unwrap_or_default(), result == "1")
            }
            ["F", kind, place, message] => {
                // Said once: the end of the process that may follow is the same failure.
                let number = if kind == "panic" { self.number } else { self.number.take() };
                Event::Failed(Failure {
                    number: number.unwrap_or_default(),
                    kind: kind.to_owned(),
                    place: place.to_owned(),
                    message: message.to_owned(),
                })
            }
            _ => Event::Over,
        }
    }

    /// Asks a process that takes too long where it is, and ends it.
    fn ask(&mut self) -> Event {
        let number = self.number.unwrap_or_default();
        // SAFETY: a signal to a process that has not been waited for, and so still has its number.
        unsafe { libc::kill(self.child.id() as libc::pid_t, trace::ASK) };
        let told = self.lines.recv_timeout(GRACE);
        let _ = self.child.kill();
        match told.map(|line| self.read(&line)) {
            Ok(Event::Failed(failure)) => Event::Failed(failure),
            _ => {
                self.number = None;
                let [kind, place, message] = ["hang", "", "it does not say where"].map(str::to_owned);
                Event::Failed(Failure { number, kind, place, message })
            }
        }
    }

    /// What a process that has ended died of.
    fn died(&mut self) -> Event {
        let status = self.child.wait();
        match self.number.take() {
            Some(number) if !status.as_ref().is_ok_and(|status| status.success()) => {
                let kind = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                Event::Failed(Failure { number, kind, place: String::new(), message: String::new() })
            }
            _ => Event::Over,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
