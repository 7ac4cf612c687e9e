//! Formulas from text: operator precedence parsing (Pratt, "Top Down Operator Precedence", POPL 1973), with bounds on
//! length and depth, since the text comes from a file.

use super::operation::{Precedence, Syntax};
use super::{Builder, Formula, MAX_OPERANDS, MAX_TERMS, MAX_TEXT, Operation, TermId};
use crate::{Error, Result};
use std::str::FromStr;
use strum::VariantArray as _;

/// How deep expressions may stand in each other.
const MAX_DEPTH: usize = 64;

impl FromStr for Formula {
    type Err = Error;

    /// # Errors
    /// Where the text is no formula, with what was expected and where, or it is larger or deeper than the limits allow.
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_TEXT {
            return Err(Error::format(format!("a formula is longer than {MAX_TEXT} bytes")));
        }
        let mut parser = Parser { text, at: 0, depth: 0, names: Vec::new(), terms: Self::builder() };
        let result = parser.formula().map_err(|e| match text.len() {
            0..=200 => Error::format(format!("the formula `{text}`: {e}")),
            _ => Error::format(format!("a formula: {e}")),
        })?;
        Ok(parser.terms.finish(result))
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The next byte.
    at: usize,
    depth: usize,
    names: Vec<(&'a str, TermId)>,
    terms: Builder,
}

#[derive(Clone, Copy, PartialEq)]
enum Token<'a> {
    Number(&'a str),
    Word(&'a str),
    Sign(&'a str),
    End,
}

impl<'a> Parser<'a> {
    fn formula(&mut self) -> Result<TermId> {
        while let (Token::Word(name), after) = self.next()
            && self.token(after).0 == Token::Sign("=")
        {
            if operand_number(name).is_some() || self.names.iter().any(|(known, _)| *known == name) || is_reserved(name)
            {
                return Err(self.error("a new name"));
            }
            self.at = self.token(after).1;
            let term = self.expression(Precedence::Any)?;
            self.take(";")?;
            self.names.push((name, term));
        }
        let result = self.expression(Precedence::Any)?;
        if self.next().0 == Token::End { Ok(result) } else { Err(self.error("an operator or the end")) }
    }

    fn expression(&mut self, least: Precedence) -> Result<TermId> {
        if self.depth == MAX_DEPTH {
            return Err(Error::format(format!("more than {MAX_DEPTH} expressions stand in each other")));
        }
        self.depth += 1;
        let mut left = self.first(least)?;
        let mut compared = false;
        while let Some((operation, own, after)) = self.infix()
            && own >= least
        {
            let is_comparison = own == Precedence::Comparison;
            if compared && is_comparison {
                return Err(self.error("parentheses around one of two comparisons"));
            }
            compared = is_comparison;
            self.at = after;
            let right = self.expression(own.next())?;
            left = self.apply(operation, &[left, right])?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// What an expression begins with.
    fn first(&mut self, least: Precedence) -> Result<TermId> {
        let (token, after) = self.next();
        match token {
            Token::Number(number) => {
                self.at = after;
                self.number(number, 1.0)
            }
            Token::Sign("(") => {
                self.at = after;
                let inner = self.expression(Precedence::Any)?;
                self.take(")")?;
                Ok(inner)
            }
            Token::Sign("-") => {
                self.at = after;
                match self.next() {
                    (Token::Number(number) | Token::Word(number @ "inf"), after) => {
                        self.at = after;
                        self.number(number, -1.0)
                    }
                    _ => self.prefix(Operation::Neg, Precedence::Sign),
                }
            }
            Token::Word("not") if least > Precedence::Not => Err(self.error("parentheses around `not`")),
            Token::Word("not") => {
                self.at = after;
                self.prefix(Operation::Not, Precedence::Not)
            }
            Token::Word(number @ ("inf" | "nan")) => {
                self.at = after;
                self.number(number, 1.0)
            }
            Token::Word(word) => self.word(word, after),
            _ => Err(self.error("a number, an operand, a name, a function or `(`")),
        }
    }

    fn prefix(&mut self, operation: Operation, own: Precedence) -> Result<TermId> {
        let of = self.expression(own)?;
        self.apply(operation, &[of])
    }

    fn word(&mut self, word: &str, after: usize) -> Result<TermId> {
        if let Some(number) = operand_number(word) {
            if number >= MAX_OPERANDS {
                return Err(self.error(&format!("an operand below x{MAX_OPERANDS}")));
            }
            self.at = after;
            let term = self.terms.operand(number);
            return self.bounded(term);
        }
        if let Some((_, term)) = self.names.iter().find(|(name, _)| *name == word) {
            self.at = after;
            return Ok(*term);
        }
        let Some((operation, arity)) = function(word) else {
            return Err(self.error("an operand, a name that stands before it, or a function"));
        };
        self.at = after;
        self.take("(")?;
        let mut arguments = Vec::with_capacity(arity);
        for place in 0..arity {
            if place > 0 {
                self.take(",")?;
            }
            arguments.push(self.expression(Precedence::Any)?);
        }
        self.take(")")?;
        self.apply(operation, &arguments)
    }

    fn number(&mut self, text: &str, sign: f32) -> Result<TermId> {
        let value: f32 = text.parse().map_err(|_| Error::format(format!("`{text}` is no number")))?;
        let term = self.terms.constant(sign * value);
        self.bounded(term)
    }

    fn apply(&mut self, operation: Operation, arguments: &[TermId]) -> Result<TermId> {
        let term = self.terms.apply(operation, arguments);
        self.bounded(term)
    }

    fn bounded(&self, term: TermId) -> Result<TermId> {
        if self.terms.len() <= MAX_TERMS {
            return Ok(term);
        }
        Err(Error::format(format!("there are more than {MAX_TERMS} terms")))
    }

    /// The infix operation that comes next, and where the text goes on behind it.
    fn infix(&self) -> Option<(Operation, Precedence, usize)> {
        let (Token::Sign(found) | Token::Word(found), after) = self.next() else { return None };
        Operation::VARIANTS.iter().find_map(|operation| match operation.syntax() {
            Syntax::Infix(sign, own) if sign == found => Some((*operation, own, after)),
            _ => None,
        })
    }

    fn take(&mut self, sign: &str) -> Result<()> {
        match self.next() {
            (Token::Sign(found), after) if found == sign => self.at = after,
            _ => return Err(self.error(&format!("`{sign}`"))),
        }
        Ok(())
    }

    fn next(&self) -> (Token<'a>, usize) {
        self.token(self.at)
    }

    /// The token at or behind `start`, and where the text goes on behind it.
    fn token(&self, start: usize) -> (Token<'a>, usize) {
        let rest = self.text[start..].trim_start();
        let start = self.text.len() - rest.len();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let Some(first) = rest.chars().next() else { return (Token::End, start) };
        let (length, kind): (usize, fn(&'a str) -> Token<'a>) = match first {
            '0'..='9' => (number_length(rest), Token::Number),
            _ if is_word(first) => (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), Token::Word),
            _ => {
                let is_two = ["<=", ">=", "=="].iter().any(|two| rest.starts_with(two));
                (if is_two { 2 } else { first.len_utf8() }, Token::Sign)
            }
        };
        (kind(&rest[..length]), start + length)
    }

    fn error(&self, expected: &str) -> Error {
        let (found, after) = self.next();
        let place = 1 + self.text[..after].chars().count();
        match found {
            Token::End => Error::format(format!("it ends where {expected} was expected")),
            Token::Number(found) | Token::Word(found) | Token::Sign(found) => {
                let place = place - found.chars().count();
                Error::format(format!("`{found}` at character {place} where {expected} was expected"))
            }
        }
    }
}

/// The length of the number that `text` begins with: digits, a fraction, an exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') {
        length += 1 + digits(length + 1);
    }
    if bytes.get(length).is_some_and(|e| e.eq_ignore_ascii_case(&b'e')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits((length + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}

fn operand_number(word: &str) -> Option<usize> {
    let number = word.strip_prefix('x')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number that does not fit is an operand that there is not.
    Some(number.parse().unwrap_or(usize::MAX))
}

fn function(word: &str) -> Option<(Operation, usize)> {
    Operation::VARIANTS.iter().find_map(|operation| match operation.syntax() {
        Syntax::Function(name, arity) if name == word => Some((*operation, arity)),
        _ => None,
    })
}

fn is_reserved(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "inf" | "nan") || function(word).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Formula {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_printed_has_no_parentheses_that_it_does_not_need() {
        let same = [
            "x0",
            "x0 * (x1 > 0)",
            "t0 = x0 * x1; t0 / (1 + exp(-t0))",
            "x0 - x1 - (x2 - x3)",
            "x0 - x1 + x2 * -x3 / x4",
            "-(x0 * x1)",
            "-x0 * x1",
            "-(2) * -2",
            "--x0",
            "where(x0 > 0 and not x1 == 2 or x2 <= 1, -0.5, 1e-10)",
            "(x0 < x1) < x2",
            "x0 * (not x1)",
            "max(min(x0, inf), -inf) + nan",
            "(x0 or x1) and x2",
            "t0 = exp(x0); t1 = t0 * t0; t1 + t1 * x1",
        ];
        for text in same {
            assert_eq!(parse(text).to_string(), text);
        }
        let simpler = [
            ("  ( x0*x1 )+(x2)", "x0 * x1 + x2"),
            ("a = x0 + 1.0; b = 2; a * b + (x0 + 1e0)", "t0 = x0 + 1; t0 * 2 + t0"),
            ("x0 * x1 + exp(x0 * x1)", "t0 = x0 * x1; t0 + exp(t0)"),
            ("unused = exp(x1); x0", "x0"),
            ("((not ((x0))))", "not x0"),
        ];
        for (text, printed) in simpler {
            assert_eq!(parse(text).to_string(), printed);
        }
    }

    #[test]
    fn values_are_those_of_the_operations() {
        let cases: [(&str, &[f32], f32); 12] = [
            ("x0 * (x1 > 0)", &[3.0, 0.0], 0.0),
            ("x0 - x1 - x2", &[10.0, 3.0, 2.0], 5.0),
            ("x0 / x1 / x2", &[12.0, 3.0, 2.0], 2.0),
            ("-pow(x0, 2)", &[3.0], -9.0),
            ("not x0 + 1", &[-1.0], 1.0),
            ("(x0 or x1) and x2", &[0.0, 2.0, f32::NAN], 1.0),
            ("where(x0, x1, x2)", &[0.0, 1.0, 2.0], 2.0),
            ("min(x0, x1)", &[f32::NEG_INFINITY, 1.0], f32::NEG_INFINITY),
            ("round(x0) + sign(x1)", &[2.5, -3.0], 1.0),
            ("erf(x0)", &[0.5], 0.520_499_9),
            ("sigmoid(x0) + tanh(x1)", &[0.0, 0.0], 0.5),
            ("reciprocal(x0) + abs(x1) + ceil(x2) + floor(x2)", &[4.0, -1.0, 0.5], 2.25),
        ];
        for (text, operands, value) in cases {
            let formula = parse(text);
            assert_eq!(formula.evaluate(operands), value, "{text}");
            assert_eq!(formula.operands(), operands.len(), "{text}");
        }
        assert!(parse("max(x0, x1)").evaluate(&[f32::NAN, 1.0]).is_nan());
        assert!(parse("max(x0, x1)").evaluate(&[1.0, f32::NAN]).is_nan());
    }

    #[test]
    fn errors_say_where_and_what() {
        let cases = [
            ("", "it ends where a number"),
            ("x0 +", "it ends where a number"),
            ("x0 x1", "`x1` at character 4 where an operator or the end"),
            ("x0 + y", "`y` at character 6 where an operand, a name that stands before it, or a function"),
            ("x64", "`x64` at character 1 where an operand below x64"),
            ("x99999999999999999999999999", "an operand below x64"),
            ("exp(x0, x1)", "`,` at character 7 where `)`"),
            ("pow(x0)", "`)` at character 7 where `,`"),
            ("(x0", "it ends where `)`"),
            ("x0 < x1 < x2", "`<` at character 9 where parentheses around one of two comparisons"),
            ("t = x0; t = x1; t", "`t` at character 9 where a new name"),
            ("exp = x0; x0", "`exp` at character 1 where a new name"),
            ("x0 é", "`é` at character 4"),
            ("x0 * not x1", "`not` at character 6 where parentheses around `not`"),
            ("t0 = x0", "it ends where `;`"),
        ];
        for (text, message) in cases {
            let error = text.parse::<Formula>().unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn text_that_is_made_to_harm_is_refused() {
        let deep = format!("{}x0{}", "(".repeat(10_000), ")".repeat(10_000));
        let wide = (0..MAX_TERMS).map(|n| format!("{n}")).collect::<Vec<_>>().join(" + ");
        for text in [deep, "-".repeat(30_000), "not ".repeat(10_000), wide, " ".repeat(MAX_TEXT + 1)] {
            let error = text.parse::<Formula>().unwrap_err().to_string();
            assert!(error.contains("more than") || error.contains("longer than"), "{error}");
        }
    }

    /// Formulas of up to `MAX_TERMS` terms: an operation on earlier terms, a constant or an operand each.
    fn formulas() -> impl Strategy<Value = Formula> {
        let constant = prop_oneof![any::<f32>(), (-4i8..4).prop_map(f32::from)];
        let term = (0..Operation::VARIANTS.len() + 6, any::<[u16; 3]>(), constant, 0..3u8);
        prop::collection::vec(term, 1..MAX_TERMS).prop_map(|terms| {
            let mut builder = Formula::builder();
            let mut ids = Vec::new();
            for (kind, of, constant, near) in terms {
                let arity = Operation::VARIANTS.get(kind).map_or(0, |operation| operation.arity());
                // Near the end mostly: so they are deep.
                let choose = |place: u16| {
                    let last: usize = ids.len() - 1;
                    ids[last - usize::from(place) % ids.len().min(if near == 0 { usize::MAX } else { 2 })]
                };
                let id = match Operation::VARIANTS.get(kind) {
                    Some(operation) if !ids.is_empty() => {
                        let arguments: Vec<TermId> = of[..arity].iter().map(|place| choose(*place)).collect();
                        builder.apply(*operation, &arguments)
                    }
                    _ if near == 0 => builder.constant(constant),
                    _ => builder.operand(usize::from(of[0]) % MAX_OPERANDS),
                };
                ids.push(id);
            }
            builder.finish(ids[ids.len() - 1])
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_it_was(formula in formulas()) {
            let text = formula.to_string();
            prop_assert!(text.len() <= MAX_TEXT);
            let read: Formula = text.parse().unwrap();
            prop_assert_eq!(&read, &formula);
            prop_assert_eq!(read.to_string(), text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-x0-9t().,;=<>+*/a-z é]{0,60}") {
            if let Ok(formula) = text.parse::<Formula>() {
                prop_assert_eq!(formula.to_string().parse::<Formula>().unwrap(), formula);
            }
        }
    }
}
