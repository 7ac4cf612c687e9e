//! The text of a formula.
//!
//! ```text
//! formula    = { name "=" expression ";" } expression
//! expression = number | "x0", "x1" … | name | function "(" expression { "," expression } ")" | "(" expression ")"
//!            | prefix expression | expression infix expression
//! ```
//!
//! What is used more than once has a name, and what would stand too deep in parentheses.

use super::operation::{Precedence, Syntax};
use super::{Formula, Term};
use std::fmt;

/// How many operations stand in each other before one is given a name. The parser reads twice as deep.
const DEEP: usize = 24;

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uses = self.uses();
        let mut texts: Vec<Text> = Vec::with_capacity(self.0.len());
        let mut names = 0;
        for (place, term) in self.0.iter().enumerate() {
            let mut text = Text::of(term, &texts);
            let is_result = place + 1 == self.0.len();
            if !is_result && matches!(term, Term::Apply(..)) && (uses[place] > 1 || text.depth >= DEEP) {
                write!(f, "t{names} = {}; ", text.text)?;
                text = Text::whole(format!("t{names}"));
                names += 1;
            }
            texts.push(text);
        }
        f.write_str(texts.last().map_or("", |text| &text.text))
    }
}

/// A term in words.
struct Text {
    text: String,
    precedence: Precedence,
    depth: usize,
}

impl Text {
    fn whole(text: String) -> Self {
        Self { text, precedence: Precedence::Whole, depth: 0 }
    }

    fn of(term: &Term, texts: &[Self]) -> Self {
        match term {
            Term::Operand(number) => Self::whole(format!("x{number}")),
            Term::Constant(value) => Self::whole(number(*value)),
            Term::Apply(operation, arguments) => {
                let arguments: Vec<&Self> = arguments.iter().map(|id| &texts[id.0]).collect();
                let depth = 1 + arguments.iter().map(|text| text.depth).max().unwrap_or_default();
                let (text, precedence) = match (operation.syntax(), &arguments[..]) {
                    (Syntax::Infix(sign, own), [left, right]) => {
                        // `a < b < c` means something else where people read it.
                        let on_the_left = if own == Precedence::Comparison { own.next() } else { own };
                        (format!("{} {sign} {}", left.within(on_the_left), right.within(own.next())), own)
                    }
                    (Syntax::Prefix(sign, own), [of]) => {
                        let space = if own == Precedence::Not { " " } else { "" };
                        // `-2` is a number.
                        let is_number = own == Precedence::Sign && of.text.starts_with(|c: char| c.is_ascii_digit());
                        let least = if is_number { Precedence::Any } else { own };
                        let of = if is_number { format!("({})", of.text) } else { of.within(least) };
                        (format!("{sign}{space}{of}"), own)
                    }
                    (Syntax::Infix(name, _) | Syntax::Prefix(name, _) | Syntax::Function(name, _), all) => {
                        let all: Vec<&str> = all.iter().map(|text| text.text.as_str()).collect();
                        (format!("{name}({})", all.join(", ")), Precedence::Whole)
                    }
                };
                Self { text, precedence, depth }
            }
        }
    }

    /// In parentheses where it binds less tightly than `least`.
    fn within(&self, least: Precedence) -> String {
        if self.precedence < least { format!("({})", self.text) } else { self.text.clone() }
    }
}

/// The shortest text that is read as this number.
fn number(value: f32) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let text = format!("{value:?}");
    text.strip_suffix(".0").unwrap_or(&text).into()
}
