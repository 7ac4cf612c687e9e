//! Products of sizes, some of which are symbols.

use crate::graph::Dim;
use std::sync::Arc;

/// A number times symbols or expressions in symbols, each as the text that it has in a [`Dim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Product {
    number: i64,
    /// Sorted.
    symbols: Vec<Arc<str>>,
}

impl Product {
    pub(super) fn number(number: i64) -> Self {
        Self { number, symbols: Vec::new() }
    }

    /// The size of an axis; none where nothing is known of it.
    pub(super) fn of(dim: &Dim) -> Option<Self> {
        match dim {
            Dim::Known(size) => Some(Self::number(*size)),
            Dim::Symbol(text) => {
                let multiple =
                    text.strip_prefix('(').and_then(|t| t.strip_suffix(')')).and_then(|t| t.split_once(" * "));
                let multiple = multiple.and_then(|(number, of)| Some((number.parse().ok()?, of.into())));
                let (number, symbol) = multiple.unwrap_or((1, text.clone()));
                Some(Self { number, symbols: vec![symbol] })
            }
            Dim::Unknown => None,
        }
    }

    /// Of several sizes; none where one is not known.
    pub(super) fn of_all(dims: &[Dim]) -> Option<Self> {
        dims.iter().try_fold(Self::number(1), |product, dim| product.times(&Self::of(dim)?))
    }

    /// The product of both; none where it overflows.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let number = self.number.checked_mul(other.number)?;
        let mut symbols = [&self.symbols[..], &other.symbols].concat();
        symbols.sort();
        Some(Self { number, symbols })
    }

    /// The quotient, where `divisor` surely divides this.
    pub(super) fn over(&self, divisor: &Self) -> Option<Self> {
        let number =
            self.number.checked_rem(divisor.number).filter(|rest| *rest == 0).map(|_| self.number / divisor.number)?;
        let mut symbols = self.symbols.clone();
        for symbol in &divisor.symbols {
            let at = symbols.iter().position(|s| s == symbol)?;
            symbols.remove(at);
        }
        Some(Self { number, symbols })
    }

    pub(super) fn is_one(&self) -> bool {
        *self == Self::number(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_divided_where_that_surely_leaves_nothing() {
        let dim = |text: &str| text.parse().map_or(Dim::Symbol(text.into()), Dim::Known);
        let of = |texts: &[&str]| Product::of_all(&texts.iter().map(|text| dim(text)).collect::<Vec<_>>()).unwrap();
        assert_eq!(of(&["4", "n", "6"]).over(&of(&["8"])), Some(of(&["3", "n"])));
        assert_eq!(of(&["(7 * n)", "m"]), of(&["m", "n", "7"]));
        assert_eq!(of(&["m", "n"]).over(&of(&["n"])), Some(of(&["m"])));
        assert_eq!(of(&["6", "n"]).over(&of(&["4"])), None);
        assert_eq!(of(&["6", "n"]).over(&of(&["m"])), None);
        assert_eq!(of(&["6"]).over(&of(&["0"])), None);
        assert!(of(&["6"]).over(&of(&["6"])).unwrap().is_one());
        assert_eq!(Product::of_all(&[Dim::Known(2), Dim::Unknown]), None);
    }
}
