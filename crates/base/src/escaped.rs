//! Text from files as it may be printed: what would move the cursor, colour the terminal, begin another line or turn
//! the direction of writing is written out, as `\u001b`. That is also how JSON writes it, so JSON stays what it is.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text`, of lines of our own making, without control characters but line breaks and tabs.
pub fn text(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_control(c) && c != '\n' && c != '\t')
}

/// A name, or a sentence that may hold one, without any control character: it stays on its line.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_control)
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_escaped(c) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// Control characters; separators of lines; marks, embeddings, overrides and isolates of direction.
fn is_control(c: char) -> bool {
    let of_direction = ['\u{61c}', '\u{200e}', '\u{200f}'];
    c.is_control() || of_direction.contains(&c) || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(line("conv1.weight → ‖∇L‖ µ"), "conv1.weight → ‖∇L‖ µ");
        assert_eq!(line("a\u{1b}[31m\u{7}\u{9b}2J\r\nb\tc"), "a\\u001b[31m\\u0007\\u009b2J\\u000d\\u000ab\\u0009c");
        assert_eq!(line("x\u{202e}y\u{2066}z\u{200f}"), "x\\u202ey\\u2066z\\u200f");
        assert_eq!(text("a\u{1b}b\n\tc\u{7f}\r\n"), "a\\u001bb\n\tc\\u007f\\u000d\n");
        assert!(matches!(text("plain\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_is_what_it_was() {
        let value = serde_json::json!({ "a\u{202e}\u{9b}": "\u{1b}[0m\u{2028}\u{7f}" });
        let printed = format!("{value:#}");
        assert_ne!(text(&printed), printed);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text(&printed)).unwrap(), value);
    }
}
