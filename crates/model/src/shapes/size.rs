//! Sizes in symbols.

use std::fmt;
use std::sync::Arc;

/// A whole number that sizes make, as a polynomial: a sum of products of symbols, quotients and the like, each with a
/// number of times that it is there, and a number. Equal values are equal numbers, whatever the symbols stand for, and
/// read the same. Symbols are numbers from 0 on.
///
/// Arithmetic is none where a number overflows, and where the expression would be longer than a rule or a reader makes
/// something of: it would grow with every node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Size {
    /// In order, none of them 0 times.
    terms: Vec<Term>,
    number: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Term {
    /// In order; at least one.
    factors: Vec<Factor>,
    times: i64,
}

/// What a polynomial takes as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Factor {
    Symbol(Arc<str>),
    /// The whole part of a quotient. The dividend has no number that the divisor goes into.
    Quotient(Arc<Size>, i64),
    /// What axes of these sizes, of which all that are not 1 are equal, broadcast to. In order.
    Broadcast(Arc<[Size]>),
}

/// The most numbers and factors in an expression.
const LONGEST: usize = 32;

impl Size {
    pub(super) const ZERO: Self = Self::number(0);
    pub(super) const ONE: Self = Self::number(1);

    pub(super) const fn number(number: i64) -> Self {
        Self { terms: Vec::new(), number }
    }

    pub(super) fn symbol(name: impl Into<Arc<str>>) -> Self {
        Self::factor(Factor::Symbol(name.into()))
    }

    fn factor(factor: Factor) -> Self {
        Self { terms: vec![Term { factors: vec![factor], times: 1 }], number: 0 }
    }

    /// The sum of terms in any order.
    fn sum(mut terms: Vec<Term>, number: i64) -> Option<Self> {
        terms.sort_unstable();
        let mut merged: Vec<Term> = Vec::with_capacity(terms.len());
        for term in terms {
            match merged.last_mut() {
                Some(last) if last.factors == term.factors => last.times = last.times.checked_add(term.times)?,
                _ => merged.push(term),
            }
        }
        merged.retain(|term| term.times != 0);
        let size = Self { terms: merged, number };
        (size.length() <= LONGEST).then_some(size)
    }

    fn length(&self) -> usize {
        let of_factor = |factor: &Factor| match factor {
            Factor::Symbol(_) => 1,
            Factor::Quotient(of, _) => 1 + of.length(),
            Factor::Broadcast(sizes) => sizes.iter().map(Self::length).sum(),
        };
        let of_term = |term: &Term| usize::from(term.times != 1) + term.factors.iter().map(of_factor).sum::<usize>();
        usize::from(self.number != 0) + self.terms.iter().map(of_term).sum::<usize>()
    }

    /// The number, where it is one.
    pub(super) fn known(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.number)
    }

    /// Whether it is surely this number.
    pub(super) fn is(&self, number: i64) -> bool {
        self.known() == Some(number)
    }

    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let number = self.number.checked_add(other.number)?;
        if self.terms.is_empty() && other.terms.is_empty() {
            return Some(Self::number(number));
        }
        Self::sum(self.terms.iter().chain(&other.terms).cloned().collect(), number)
    }

    pub(super) fn plus_number(&self, number: i64) -> Option<Self> {
        self.plus(&Self::number(number))
    }

    pub(super) fn minus(&self, other: &Self) -> Option<Self> {
        self.plus(&other.times_number(-1)?)
    }

    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let mut terms = Vec::with_capacity(self.terms.len() + other.terms.len());
        for (a, number) in [(self, other.number), (other, self.number)] {
            for term in &a.terms {
                terms.push(Term { factors: term.factors.clone(), times: term.times.checked_mul(number)? });
            }
        }
        for (a, b) in self.terms.iter().flat_map(|a| other.terms.iter().map(move |b| (a, b))) {
            let mut factors: Vec<Factor> = a.factors.iter().chain(&b.factors).cloned().collect();
            factors.sort_unstable();
            terms.push(Term { factors, times: a.times.checked_mul(b.times)? });
        }
        Self::sum(terms, self.number.checked_mul(other.number)?)
    }

    pub(super) fn times_number(&self, number: i64) -> Option<Self> {
        self.times(&Self::number(number))
    }

    /// The product of sizes.
    pub(super) fn product<'s>(sizes: impl IntoIterator<Item = &'s Self>) -> Option<Self> {
        sizes.into_iter().try_fold(Self::ONE, |product, size| product.times(size))
    }

    /// The quotient by a number above 0, rounded down.
    pub(super) fn over(&self, divisor: i64) -> Option<Self> {
        if divisor < 1 {
            return None;
        }
        // What the divisor goes into comes out; what is left has numbers from 0 to before the divisor.
        let each = |f: &dyn Fn(i64) -> i64| {
            let terms = self.terms.iter().map(|term| Term { factors: term.factors.clone(), times: f(term.times) });
            Self::sum(terms.collect(), f(self.number))
        };
        let (whole, rest) = (each(&|n| n.div_euclid(divisor))?, each(&|n| n.rem_euclid(divisor))?);
        whole.plus(&rest.quotient(divisor)?)
    }

    /// The quotient, rounded down, of an expression whose numbers are from 0 to before the divisor.
    fn quotient(&self, divisor: i64) -> Option<Self> {
        let common = self.terms.iter().fold(divisor, |common, term| common_divisor(common, term.times));
        let divide = |term: &Term| Term { factors: term.factors.clone(), times: term.times / common };
        let rest = Self::sum(self.terms.iter().map(divide).collect(), self.number / common)?;
        let divisor = divisor / common;
        if rest.terms.is_empty() || divisor == 1 {
            return rest.over_is_number(divisor);
        }
        // (⌊a / m⌋ + b) / n is (a + m b) / (m n).
        let inner =
            rest.terms.iter().position(|term| term.times == 1 && matches!(term.factors[..], [Factor::Quotient(..)]));
        if let Some(at) = inner {
            let mut others = rest.clone();
            let term = others.terms.remove(at);
            if let [Factor::Quotient(of, by)] = &term.factors[..] {
                return of.plus(&others.times_number(*by)?)?.over(by.checked_mul(divisor)?);
            }
        }
        let quotient = Self::factor(Factor::Quotient(Arc::new(rest), divisor));
        (quotient.length() <= LONGEST).then_some(quotient)
    }

    /// A number, or anything by 1.
    fn over_is_number(self, divisor: i64) -> Option<Self> {
        if divisor == 1 { Some(self) } else { Some(Self::number(self.number / divisor)) }
    }

    /// The quotient by a number above 0, rounded up.
    pub(super) fn over_rounded_up(&self, divisor: i64) -> Option<Self> {
        self.plus_number(divisor.checked_sub(1)?)?.over(divisor)
    }

    /// The quotient of two sizes, where that surely leaves nothing.
    pub(super) fn exactly_over(&self, divisor: &Self) -> Option<Self> {
        let (leading, times) = divisor.leading()?;
        let (mut rest, mut quotient) = (self.clone(), Self::ZERO);
        // The leading term gets smaller each time; in an expression that is divisible so does the rest.
        for _ in 0..LONGEST {
            let Some((first, count)) = rest.leading() else { return Some(quotient) };
            if count.checked_rem(times)? != 0 {
                return None;
            }
            let mut factors = first.to_vec();
            for factor in leading {
                factors.remove(factors.binary_search(factor).ok()?);
            }
            let times = count.checked_div(times)?;
            let term = match factors.is_empty() {
                true => Self::number(times),
                false => Self { terms: vec![Term { factors, times }], number: 0 },
            };
            rest = rest.minus(&divisor.times(&term)?)?;
            quotient = quotient.plus(&term)?;
        }
        None
    }

    /// The term of most factors, of those the last in order; none of 0.
    fn leading(&self) -> Option<(&[Factor], i64)> {
        let last = self.terms.iter().max_by_key(|term| (term.factors.len(), &term.factors));
        match last {
            Some(term) => Some((&term.factors, term.times)),
            None => (self.number != 0).then_some((&[], self.number)),
        }
    }

    /// What axes of these two sizes broadcast to; none where they do not.
    pub(super) fn broadcast(&self, other: &Self) -> Option<Self> {
        match (self.known(), other.known()) {
            _ if self == other => Some(self.clone()),
            (Some(1), _) => Some(other.clone()),
            (_, Some(1)) => Some(self.clone()),
            (Some(_), Some(_)) => None,
            // The other is this number, or 1.
            (Some(_), None) => Some(self.clone()),
            (None, Some(_)) => Some(other.clone()),
            (None, None) => {
                let mut all: Vec<Self> = [self, other].into_iter().flat_map(Self::broadcast_from).cloned().collect();
                all.sort_unstable();
                all.dedup();
                let size = Self::factor(Factor::Broadcast(all.into()));
                (size.length() <= LONGEST).then_some(size)
            }
        }
    }

    fn broadcast_from(&self) -> &[Self] {
        match &self.terms[..] {
            [Term { factors, times: 1 }] if self.number == 0 => match &factors[..] {
                [Factor::Broadcast(sizes)] => sizes,
                _ => std::slice::from_ref(self),
            },
            _ => std::slice::from_ref(self),
        }
    }

    /// Whether it is surely 0 or more.
    pub(super) fn is_not_negative(&self) -> bool {
        // Quotients have no negative numbers in them.
        self.number >= 0 && self.terms.iter().all(|term| term.times > 0)
    }

    /// Whether it is surely more than 0.
    pub(super) fn is_positive(&self) -> bool {
        self.number > 0 && self.is_not_negative()
    }

    /// Whether every symbol in it satisfies `holds`.
    pub(super) fn all_symbols(&self, holds: &impl Fn(&str) -> bool) -> bool {
        self.terms.iter().flat_map(|term| &term.factors).all(|factor| match factor {
            Factor::Symbol(name) => holds(name),
            Factor::Quotient(of, _) => of.all_symbols(holds),
            Factor::Broadcast(sizes) => sizes.iter().all(|size| size.all_symbols(holds)),
        })
    }

    /// The name, where it is a symbol and nothing else.
    pub(super) fn as_symbol(&self) -> Option<&Arc<str>> {
        match &self.terms[..] {
            [Term { factors, times: 1 }] if self.number == 0 => match &factors[..] {
                [Factor::Symbol(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }
}

fn common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// An expression with all its parentheses: `((H + 1) / 2)`, `(2 * N)`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Symbols, the number, then what is computed.
        let is_symbol = |term: &&Term| term.times == 1 && matches!(term.factors[..], [Factor::Symbol(_)]);
        let (symbols, others): (Vec<&Term>, Vec<&Term>) = self.terms.iter().partition(is_symbol);
        let number = (self.number != 0 || self.terms.is_empty()).then(|| self.number.to_string());
        let texts = |terms: Vec<&Term>| terms.into_iter().map(Term::to_string).collect::<Vec<_>>();
        list(f, texts(symbols).into_iter().chain(number).chain(texts(others)).collect(), " + ")
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.times, &self.factors[..]) {
            (1, factors) => list(f, factors.iter().map(Factor::to_string).collect(), " * "),
            (times, factors) => {
                write!(f, "({times} * ")?;
                list(f, factors.iter().map(Factor::to_string).collect(), " * ")?;
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(name) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => f.write_str(name),
            Self::Symbol(name) => write!(f, "`{name}`"),
            Self::Quotient(of, divisor) => write!(f, "({of} / {divisor})"),
            Self::Broadcast(sizes) => {
                let texts: Vec<_> = sizes.iter().map(Size::to_string).collect();
                write!(f, "broadcast({})", texts.join(", "))
            }
        }
    }
}

/// Parts in parentheses, unless there is one alone.
fn list(f: &mut fmt::Formatter<'_>, parts: Vec<String>, between: &str) -> fmt::Result {
    match &parts[..] {
        [part] => f.write_str(part),
        parts => write!(f, "({})", parts.join(between)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn n() -> Size {
        Size::symbol("N")
    }

    fn h() -> Size {
        Size::symbol("H")
    }

    #[test]
    fn equal_expressions_are_equal() {
        let sum = n().plus(&h()).unwrap();
        let square = sum.times(&sum).unwrap();
        let expanded = [n().times(&n()), n().times(&h()).unwrap().times_number(2), h().times(&h())];
        let expanded = expanded.into_iter().try_fold(Size::ZERO, |all, part| all.plus(&part?));
        assert_eq!(Some(&square), expanded.as_ref());
        assert_eq!(square.exactly_over(&sum), Some(sum.clone()));
        assert_eq!(square.exactly_over(&n()), None);
        assert_eq!(square.minus(&square), Some(Size::ZERO));
        // Twice halved, and a quarter.
        let halved = |size: &Size| size.plus_number(1).unwrap().over(2).unwrap();
        assert_eq!(halved(&halved(&h())), h().plus_number(3).unwrap().over(4).unwrap());
        assert_eq!(
            h().times_number(6).unwrap().plus_number(5).unwrap().over(4).unwrap().to_string(),
            "(H + 1 + (H / 2))"
        );
    }

    #[test]
    fn expressions_read_as_they_are() {
        assert_eq!(n().times(&h()).unwrap().times_number(2).unwrap().to_string(), "(2 * (H * N))");
        assert_eq!(h().plus_number(1).unwrap().over(2).unwrap().to_string(), "((H + 1) / 2)");
        let unnamed = Size::symbol("x[1]");
        assert_eq!(unnamed.plus(&n()).unwrap().to_string(), "(N + `x[1]`)");
        assert_eq!(n().broadcast(&h()).unwrap().to_string(), "broadcast(H, N)");
    }

    #[test]
    fn what_is_too_long_or_too_large_is_none() {
        assert_eq!(Size::number(i64::MAX).plus_number(1), None);
        assert_eq!(n().times_number(i64::MAX).unwrap().times_number(2), None);
        assert_eq!(Size::number(i64::MIN).over(0), None);
        let mut longer = Some(Size::ZERO);
        for i in 0..100 {
            longer = longer.and_then(|sum| sum.plus(&Size::symbol(format!("s{i}"))));
        }
        assert_eq!(longer, None);
        let mut deeper = n();
        let deepest = (0..100).find_map(|_| match deeper.plus(&h()).and_then(|sum| sum.times(&h())?.over(3)) {
            Some(next) => {
                deeper = next;
                None
            }
            None => Some(()),
        });
        assert!(deepest.is_some());
    }

    /// What `size` is where N is `n` and H is `h`.
    fn value(size: &Size, n: i64, h: i64) -> i64 {
        let factor = |factor: &Factor| match factor {
            Factor::Symbol(name) => {
                if &**name == "N" {
                    n
                } else {
                    h
                }
            }
            Factor::Quotient(of, by) => value(of, n, h).div_euclid(*by),
            Factor::Broadcast(sizes) => sizes.iter().map(|size| value(size, n, h)).max().unwrap(),
        };
        let terms = size.terms.iter().map(|term| term.times * term.factors.iter().map(factor).product::<i64>());
        size.number + terms.sum::<i64>()
    }

    proptest! {
        /// Whatever is done to expressions is done to what they stand for.
        #[test]
        fn arithmetic_is_that_of_numbers(steps in proptest::collection::vec((0..6, 1..7i64), 1..8), a in 0..50i64, b in 0..50i64) {
            let (mut size, mut number) = (n(), a);
            for (step, by) in steps {
                let (next, then) = match step {
                    0 => (size.plus_number(by), number + by),
                    1 => (size.plus_number(-by), number - by),
                    2 => (size.times_number(by), number * by),
                    3 => (size.over(by), number.div_euclid(by)),
                    4 => (size.plus(&h()), number + b),
                    _ => (size.times(&h()), number * b),
                };
                let Some(next) = next else { break };
                (size, number) = (next, then);
                prop_assert_eq!(value(&size, a, b), number, "{}", size);
            }
        }
    }
}
