//! The progress of large copies.

use crate::onnx::Copying;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// What takes no longer than this is not shown.
const SHORT: Duration = Duration::from_secs(1);

/// A bar on standard error, where that is a terminal, for copies that take their time.
#[derive(Debug)]
pub struct CopyingBar {
    quiet: bool,
    began: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl CopyingBar {
    /// One that shows nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, began: None, bar: None }
    }

    /// Shows how far it has come; the bar goes with the last byte.
    pub fn show(&mut self, copying: &Copying<'_>) {
        let Copying { file, done, total } = *copying;
        if done >= total {
            self.began = None;
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
            }
            return;
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        if self.quiet || began.elapsed() < SHORT {
            return;
        }
        let bar =
            self.bar.get_or_insert_with(|| bar(file.file_name().unwrap_or_default().to_string_lossy().into_owned()));
        bar.set_length(total);
        bar.set_position(done);
    }
}

fn bar(name: String) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // A faulty template is no reason not to copy.
    match ProgressStyle::with_template("copying {msg} {wide_bar} {bytes}/{total_bytes}  {eta} left") {
        Ok(style) => bar.with_style(style).with_message(name),
        Err(_) => bar,
    }
}
