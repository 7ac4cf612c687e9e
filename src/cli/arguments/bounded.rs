//! Upper bounds of numbers: what is beyond them is a slip, and would end as an overflow or for want of memory.

use crate::train::Span;
use std::num::NonZero;
use std::str::FromStr;
use std::thread::available_parallelism;

/// Epochs, steps, checkpoints: more than anybody trains.
pub const MANY: u64 = 1_000_000_000;
/// Samples a step, sides of images.
pub const LARGE: u64 = 1 << 24;
/// Threads that are no more than waiting for work.
pub const THREADS: u64 = 1024;

/// A whole number of at most `MOST`.
pub fn at_most<T: FromStr<Err: ToString>, const MOST: u64>(text: &str) -> Result<T, String> {
    // One that is too long for any type, too.
    let is_beyond = text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse().is_ok_and(|n: u128| n > MOST.into())
        || (text.len() > 38 && text.bytes().all(|byte| byte.is_ascii_digit()));
    if is_beyond {
        return Err(format!("at most {MOST} are taken"));
    }
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A length of a run, of at most [`MANY`] steps or epochs.
pub fn span(text: &str) -> Result<Span, String> {
    let span = text.parse().map_err(|error: crate::Error| error.to_string())?;
    let is_beyond = match span {
        Span::Steps(steps) => steps > MANY,
        Span::Epochs(epochs) => epochs > MANY as f64,
    };
    if is_beyond { Err(format!("at most {MANY} are taken")) } else { Ok(span) }
}

/// A number of threads: no more than the machine runs at a time.
pub fn threads(text: &str) -> Result<NonZero<u16>, String> {
    let threads: NonZero<u16> = text.parse().map_err(|_| "expected a number of threads, from 1 on".to_owned())?;
    match available_parallelism() {
        Ok(most) if usize::from(threads.get()) > most.get() => {
            Err(format!("this machine runs {most} at a time; leave it out to use all of them"))
        }
        _ => Ok(threads),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_a_bound_are_refused() {
        assert_eq!(at_most::<u64, 10>("10"), Ok(10));
        for text in ["11", "18446744073709551615", "18446744073709551616", &"9".repeat(60)] {
            assert_eq!(at_most::<u64, 10>(text), Err("at most 10 are taken".to_owned()));
        }
        for text in ["", "-1", "x", "1.5"] {
            assert!(at_most::<u64, 10>(text).is_err_and(|says| !says.contains("at most")), "{text}");
        }
        assert!(at_most::<NonZero<usize>, 10>("0").is_err());
        assert_eq!(threads("1").unwrap().get(), 1);
        assert!(threads("65535").unwrap_err().contains("this machine runs"));
        assert!(threads("0").is_err());
    }
}
