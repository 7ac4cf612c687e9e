//! Whether data fit into memory: asked before it is allocated, of the sizes that a file declares.
//!
//! A system that overcommits grants what it does not have, and ends the process, or another, when it is used.

use gnp_base::{Error, Result};
use std::fmt::Display;
use std::io::{self, Read};
use sysinfo::System;

/// Deflate does not compress to less than a 1032nd part: 258 bytes come of two bits at best.
/// Source: <https://zlib.net/zlib_tech.html>.
const DEFLATE: u64 = 1032;

/// Checks that `what` can be held: `bytes`, where that is known to be no more than can be counted.
///
/// # Errors
/// Where it takes more memory than is free: the message says how much of either.
pub(super) fn ensure(what: impl Display, bytes: Option<u64>) -> Result<()> {
    let Some(free) = free() else { return Ok(()) };
    let needed = match bytes {
        Some(bytes) if bytes <= free => return Ok(()),
        Some(bytes) => said(bytes),
        None => "more memory than can be counted".to_owned(),
    };
    Err(Error::input(format!("{what} takes {needed}, and {} of memory are free", said(free))).help(
        "use less of the data, store them as narrower numbers (bytes rather than floats), or take a machine with more memory",
    ))
}

/// The bytes that a process can still be given, of the machine's memory or of its share in a container; none where the
/// system does not tell.
pub fn free() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory();
    // What a container holds for its files is given back when it is needed.
    let share = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory.saturating_sub(limits.rss));
    Some(system.available_memory().saturating_add(system.free_swap()).min(share)).filter(|&free| free > 0)
}

fn said(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let power = bytes.checked_ilog(1000).unwrap_or(0).min(5);
    let digits = usize::from(power > 0);
    format!("{:.digits$} {}", bytes as f64 / 1000f64.powi(power as i32), units[power as usize])
}

/// How many bytes `length` bytes of a deflated stream can come to.
pub(super) fn inflated(length: u64) -> u64 {
    length.saturating_mul(DEFLATE)
}

/// Reads `expected` bytes, of which it is known that they may be there, and one more where there is one: fewer or more
/// tell a file that is cut short or goes on.
///
/// # Errors
/// Where the reader fails; where the memory cannot be had.
pub(super) fn read(from: impl Read, expected: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(expected)?;
    let mut from = from.take(expected as u64);
    from.read_to_end(&mut bytes)?;
    from.set_limit(1);
    from.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said_with_what_is_free() {
        assert!(ensure("`x`", Some(1)).is_ok());
        let message = ensure("`x`", Some(3_400_000_000_000_000)).unwrap_err().to_string();
        assert!(message.starts_with("`x` takes 3.4 PB, and ") && message.ends_with(" of memory are free"), "{message}");
        assert!(ensure("`x`", None).unwrap_err().to_string().contains("takes more memory than can be counted"));
        assert_eq!([0, 999, 1000, 15_200_000].map(said), ["0 bytes", "999 bytes", "1.0 kB", "15.2 MB"]);
    }

    #[test]
    fn a_byte_more_than_is_expected_is_read() {
        assert_eq!(read(&[1, 2, 3, 4, 5][..], 3).unwrap(), [1, 2, 3, 4]);
        assert_eq!(read(&[1, 2][..], 3).unwrap(), [1, 2]);
    }
}
