//! Where an input was when its process had to end: said on the standard output, which the parent reads.

use std::backtrace::Backtrace;
use std::io::Write as _;
use std::{io, mem, process, ptr};

/// The signal by which the parent asks where a process is.
pub const ASK: libc::c_int = libc::SIGALRM;

/// Bytes for the stack that signal handlers run on: telling frames by their names takes much.
const HANDLER_STACK: usize = 1 << 20;

/// Has the process say where it was when it dies of a signal, or is asked.
pub fn install() {
    let stack: &'static mut [u8] = Vec::leak(vec![0; HANDLER_STACK]);
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: the stack is never freed.
    unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, ASK] {
        // SAFETY: all zeros is a valid value: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handle as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
        // SAFETY: the handler ends the process. What it calls is not safe in a handler; where it hangs, the parent
        // kills the process.
        unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    }
}

extern "C" fn handle(signal: libc::c_int) {
    let kind = match signal {
        ASK => "hang",
        libc::SIGABRT => "abort",
        libc::SIGSEGV => "segmentation fault",
        _ => "signal",
    };
    end(kind, "");
}

/// Says what happened and where, and ends the process.
pub fn end(kind: &str, what: &str) -> ! {
    let place = place().unwrap_or_default();
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "F\t{kind}\t{place}\t{what}").and_then(|()| out.flush());
    process::exit(1)
}

/// The innermost function of the library that is running.
pub fn place() -> Option<String> {
    let trace = Backtrace::force_capture().to_string();
    let functions = trace.lines().filter_map(|line| line.split_once(": ").map(|(_, name)| name.trim()));
    let own = |name: &&str| name.trim_start_matches('<').starts_with("gnp::");
    let found = functions.into_iter().find(own)?;
    // The hash of a build, and what closures are numbered by.
    Some(found.split("::{{closure}}").next().unwrap_or(found).to_owned())
}
