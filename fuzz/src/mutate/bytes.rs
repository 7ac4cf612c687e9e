//! Changes of bytes and of text.

use super::number;
use rand::seq::{IndexedMutRandom as _, IndexedRandom as _};
use rand::{Rng, RngExt as _};
use std::ops::Range;

/// What an input may grow to, in bytes.
const LONGEST: usize = 1 << 20;

/// What stands in tables, configurations and JSON.
const WORDS: [&str; 40] = [
    "\"",
    "\n",
    "\r\n",
    ",",
    ";",
    "=",
    "[",
    "]",
    "{",
    "}",
    "#",
    "'",
    "\"\"",
    "\"\"\"",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e-400",
    "-0",
    "null",
    "true",
    "false",
    "18446744073709551616",
    "-9223372036854775808",
    "9223372036854775807",
    "0.1",
    "\u{feff}",
    "\0",
    "\u{1b}[31m",
    "é",
    "..",
    "/dev/null",
    "x",
    "y",
    "epochs",
    "lr",
    "[[a]]",
    "a.b",
    "*",
];

/// Changes bytes at random; `other` is an input that parts may be taken from.
pub fn mutate(own: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    if own.is_empty() {
        own.push(rng.random());
        return;
    }
    // Headers are at the beginning.
    let end = if rng.random_bool(0.5) { own.len().min(64) } else { own.len() };
    let at = rng.random_range(0..end);
    match rng.random_range(0..9) {
        0 => own[at] ^= 1 << rng.random_range(0..8),
        1 => own[at] = rng.random(),
        2 => own[at] = *[0, 1, 0x7f, 0x80, 0xff, b'0', b'9', b'"'].choose(rng).unwrap_or(&0),
        3 => {
            let value = number(rng);
            let width = *[1, 2, 4, 8].choose(rng).unwrap_or(&4);
            let bytes = if rng.random() {
                value.to_le_bytes()[..width].to_vec()
            } else {
                value.to_be_bytes()[8 - width..].to_vec()
            };
            own.splice(at..(at + width).min(own.len()), bytes);
        }
        4 => own.truncate(at),
        5 => {
            let part = range(own.len(), rng);
            own.drain(part);
        }
        6 => {
            let part = own[range(own.len(), rng)].to_vec();
            own.splice(at..at, part);
        }
        7 => {
            let part = &other[range(other.len(), rng)];
            own.splice(at..at, part.iter().copied());
        }
        _ => {
            let there = rng.random_range(0..=other.len());
            own.truncate(at);
            own.extend_from_slice(&other[there..]);
        }
    }
    own.truncate(LONGEST);
}

/// Changes a number of 32 bits, or has it be another one of the input.
pub fn mutate_words(own: &mut [u8], rng: &mut impl Rng) {
    let words = own.as_chunks_mut::<4>().0;
    let Some(&other) = words.choose(rng) else { return };
    let Some(word) = words.choose_mut(rng) else { return };
    let value = i32::from_le_bytes(*word);
    *word = match rng.random_range(0..4) {
        0 => (number(rng) as i32).to_le_bytes(),
        1 => other,
        2 => value.wrapping_add(4 * rng.random_range(-8..=8)).to_le_bytes(),
        _ => value.wrapping_add(rng.random_range(-4..=4)).to_le_bytes(),
    };
}

/// Puts a word, a number or a repetition into a text.
pub fn mutate_text(own: &mut Vec<u8>, rng: &mut impl Rng) {
    let at = rng.random_range(0..=own.len());
    let word = match rng.random_range(0..5) {
        0 => number(rng).to_string(),
        1 => WORDS.choose(rng).unwrap_or(&"").repeat(1 << rng.random_range(0..14)),
        _ => (*WORDS.choose(rng).unwrap_or(&"")).to_owned(),
    };
    // In place of a number or a word, or between.
    let end = at + own[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let end = if rng.random() { at } else { end };
    own.splice(at..end, word.bytes());
    own.truncate(LONGEST);
}

/// A range of bytes, mostly a short one.
fn range(length: usize, rng: &mut impl Rng) -> Range<usize> {
    let start = rng.random_range(0..=length);
    let longest = if rng.random_bool(0.8) { 16 } else { length };
    start..(start + rng.random_range(0..=longest)).min(length)
}
