//! A process that runs inputs, and says on its standard output which one is under way.
//!
//! A line `S <number> <result>` says that an input begins, and whether the last one came to a result (1 or 0); `F
//! <kind> <place> <message>` (with tabs) that it failed.

use crate::input::Inputs;
use crate::targets::Target;
use crate::{memory, trace};
use std::fmt::Display;
use std::io::{self, Write as _};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::sync::Mutex;

/// Where the last panic was, and what it said.
static PANIC: Mutex<Option<(String, String)>> = Mutex::new(None);

fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    // Where nobody listens any more, the parent has ended.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn note(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    let place = info.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
    // Not ours: who called?
    let place = if place.starts_with('/') { trace::place().unwrap_or(place) } else { place };
    if let Ok(mut panic) = PANIC.lock() {
        *panic = Some((place, text.unwrap_or_default().replace(['\n', '\t'], " ")));
    }
}

/// Whether the input comes to a result.
fn run(target: Target, bytes: &[u8], folder: &Path) -> bool {
    panic::catch_unwind(AssertUnwindSafe(|| target.run(bytes, folder))).unwrap_or_else(|_| {
        let (place, text) = PANIC.lock().ok().and_then(|mut panic| panic.take()).unwrap_or_default();
        say(format_args!("F\tpanic\t{place}\t{text}"));
        false
    })
}

fn prepare() {
    panic::set_hook(Box::new(note));
    trace::install();
    memory::watch();
}

/// Runs the inputs of the numbers `first`, `first + step`, … for ever.
pub fn run_numbers(target: Target, inputs: &Inputs, [first, step]: [u64; 2], folder: &Path) {
    prepare();
    let (mut number, mut result) = (first, false);
    loop {
        let bytes = inputs.make(number, usize::MAX);
        say(format_args!("S\t{number}\t{}", u8::from(result)));
        result = run(target, &bytes, folder);
        number += step;
    }
}

/// Runs one input.
pub fn run_one(target: Target, bytes: &[u8], folder: &Path) {
    prepare();
    say("S\t0\t0");
    run(target, bytes, folder);
}
