//! What the programs do, as calls: runs, sweeps, and rewrites from file to file.

use crate::error::{caught, exception};
use crate::options;
use gnp::experiment::sweep::{Arm, SweepObserver};
use gnp::experiment::{Existing, Notice, Observer, Overview, run};
use gnp::programs::{SweepLine, rewrite_command, rewrite_reported, run_command, run_of};
use gnp::report::Event;
use gnp::{Error, Result, cli};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Rewrites from file to file as `gnp-rewrite` does with these options, `input` and `output` among them, and returns
/// its report as JSON.
#[pyfunction]
pub fn rewrite_files(py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<String> {
    let words = ["gnp-rewrite".into()].into_iter().chain(options::words(rewrite_command(), given)?);
    py.detach(|| caught(|| rewrite_reported(words)))
}

/// Trains as `gnp-run` does with the configuration file `config` and what `given` has in place of it. `tell` is called
/// with what happens and JSON about it. Returns the outcome as JSON.
#[pyfunction]
pub fn run_files(
    py: Python<'_>,
    config: Option<PathBuf>,
    given: &Bound<'_, PyDict>,
    resume: bool,
    force: bool,
    tell: Py<PyAny>,
) -> PyResult<String> {
    let mut words: Vec<OsString> =
        config.map(|config| format!("--config={}", config.display()).into()).into_iter().collect();
    words.extend(options::words(run_command(), given)?);
    let mut settings = caught(|| run_of(words))?;
    settings.output.existing = match (resume, force) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Replace,
        _ => Existing::Refuse,
    };
    interruptible(py, &tell, |stop, teller| {
        let folder = settings.output.folder.clone();
        let outcome = run(settings, &mut &*teller, stop)?;
        json(&(folder, outcome))
    })
}

/// Compares as `gnp-run sweep` does. Returns the folder, and the summary where the sweep was not stopped, as JSON.
#[pyfunction]
pub fn sweep_files(
    py: Python<'_>,
    config: Option<PathBuf>,
    sweep: &Bound<'_, PyDict>,
    given: &Bound<'_, PyDict>,
    tell: Py<PyAny>,
) -> PyResult<String> {
    let mut words: Vec<OsString> = config.map(Into::into).into_iter().collect();
    words.extend(options::words(SweepLine::command(), sweep)?);
    words.push("--".into());
    words.extend(options::words(run_command(), given)?);
    let line = caught(|| SweepLine::parse(words))?;
    interruptible(py, &tell, |stop, teller| json(&(&line.sweep.folder, line.run(teller, stop)?)))
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(format!("cannot encode the outcome: {error}")))
}

/// What `work` returns, which is done in another thread so that Ctrl-C is heard: it then ends with what it does when
/// it is stopped, and `KeyboardInterrupt` is raised.
fn interruptible<T: Send>(
    py: Python<'_>,
    tell: &Py<PyAny>,
    work: impl FnOnce(&AtomicBool, &Teller<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    const PATIENCE: Duration = Duration::from_millis(50);
    let stop = AtomicBool::new(false);
    let teller = Teller { tell, failed: Mutex::new(None), stop: &stop };
    let mut interrupt = None;
    let outcome = py.detach(|| {
        thread::scope(|scope| {
            let (send, done) = mpsc::channel();
            let (stop, teller) = (&stop, &teller);
            scope.spawn(move || send.send(cli::caught(|| work(stop, teller))));
            loop {
                match done.recv_timeout(PATIENCE) {
                    Ok(outcome) => return outcome,
                    Err(RecvTimeoutError::Timeout) => {
                        if let Err(signal) = Python::attach(|py| py.check_signals()) {
                            interrupt = Some(signal);
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("a thread is gone")),
                }
            }
        })
    });
    let failed = teller.failed.into_inner().unwrap_or_default();
    match interrupt.or(failed) {
        Some(raised) => Err(raised),
        None => outcome.map_err(exception),
    }
}

/// Tells Python what happens. What it raises stops the run.
struct Teller<'a> {
    tell: &'a Py<PyAny>,
    failed: Mutex<Option<PyErr>>,
    stop: &'a AtomicBool,
}

impl Teller<'_> {
    fn tell(&self, what: &str, about: &impl Serialize) {
        let Ok(about) = serde_json::to_string(about) else { return };
        if let Err(raised) = Python::attach(|py| self.tell.call1(py, (what, about)).map(drop)) {
            self.stop.store(true, Ordering::Relaxed);
            self.failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(raised);
        }
    }
}

impl Observer for &Teller<'_> {
    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Made(report) => report.warnings.iter().for_each(|warning| self.tell("warning", warning)),
            Notice::Info(text) => self.tell("info", &text),
            Notice::Detail(text) => self.tell("detail", &text),
            _ => {}
        }
    }

    fn begin(&mut self, overview: &Overview) {
        self.tell("begin", &(overview.epochs, overview.steps, overview.done));
    }

    fn event(&mut self, event: &Event) {
        if let Event::Epoch(report) = event {
            self.tell("epoch", report);
        }
    }
}

impl SweepObserver for Teller<'_> {
    fn begin(&self, arm: &Arm, seed: u64, overview: &Overview) {
        self.tell("run", &(&arm.name, seed, overview.epochs));
    }

    fn event(&self, arm: &Arm, seed: u64, event: &Event) {
        if let Event::Epoch(report) = event {
            self.tell("epoch", &(&arm.name, seed, report));
        }
    }

    fn end(&self, arm: &Arm, seed: u64) {
        self.tell("end", &(&arm.name, seed));
    }
}
