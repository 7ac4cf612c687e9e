//! Einsum, of which every operand's cotangent is an Einsum of the others and the output's.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;

pub(super) const RULES: &[Entry] = &[("", "Einsum", Rule::Vjp(einsum))];

/// y = Σ Π xᵢ, each element at the places that its labels say ⇒ x̄ᵢ = Σ ȳ Π xⱼ, j ≠ i, over all labels that xᵢ has not.
/// Along labels that xᵢ alone has, x̄ᵢ is the same everywhere; of labels that it has twice it has the diagonal.
fn einsum(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let operands: Vec<&Value> = (0..op.inputs().len()).map(|i| op.input(i)).collect::<Result<_>>()?;
    let ranks: Vec<_> = operands.iter().map(|x| g.fact(x).rank()).collect();
    let Some(Equation { terms, output }) = Equation::of(op.string("equation", ""), &ranks) else {
        return Err(op.unknown("the number of axes that its equation stands for"));
    };
    let cotangent = |i: usize| {
        let factors = (0..operands.len()).filter(|j| *j != i).map(|j| (&*terms[j], operands[j]));
        let factors: Vec<_> = [(&*output, dy)].into_iter().chain(factors).collect();
        let own = unique(&terms[i]);
        let shared: Vec<char> =
            own.iter().filter(|label| factors.iter().any(|(term, _)| term.contains(label))).copied().collect();
        let product = contracted(&factors, &shared, g);
        let missing: Vec<i64> = (0..own.len() as i64).filter(|&at| !shared.contains(&own[at as usize])).collect();
        let product = g.unsqueeze(product, &missing);
        spread(&product, &own, &terms[i], operands[i], g)
    };
    Ok(Cotangents::of((0..operands.len()).map(|i| op.wants(i).then(|| cotangent(i)))))
}

/// The labels of each operand's axes, and of the output's; those that `...` stands for are characters that no equation
/// has.
struct Equation {
    terms: Vec<Vec<char>>,
    output: Vec<char>,
}

impl Equation {
    /// Of operands with these numbers of axes.
    fn of(equation: &str, ranks: &[Option<usize>]) -> Option<Self> {
        let equation: String = equation.split_whitespace().collect();
        let (left, right) = equation.split_once("->").map_or((&*equation, None), |(left, right)| (left, Some(right)));
        let given: Vec<&str> = left.split(',').collect();
        let letters = |term: &str| term.chars().filter(char::is_ascii_alphabetic).count();
        if given.len() != ranks.len() {
            return None;
        }
        let mut free = ('a'..='z').chain('A'..='Z').filter(|label| !equation.contains(*label));
        let hidden: Option<Vec<usize>> = given
            .iter()
            .zip(ranks)
            .map(|(term, rank)| if term.contains("...") { (*rank)?.checked_sub(letters(term)) } else { Some(0) })
            .collect();
        let hidden = hidden?;
        // No tensor has more axes, and no equation more letters.
        if given.iter().any(|term| letters(term) > 64) || hidden.iter().any(|hidden| *hidden > free.clone().count()) {
            return None;
        }
        let broadcast: Vec<char> = free.by_ref().take(hidden.iter().copied().max().unwrap_or(0)).collect();
        let written_out = |term: &str, hidden: usize| {
            let ellipsis: String = broadcast[broadcast.len() - hidden..].iter().collect();
            term.replace("...", &ellipsis).chars().collect::<Vec<char>>()
        };
        let terms: Vec<Vec<char>> =
            given.iter().zip(&hidden).map(|(term, &hidden)| written_out(term, hidden)).collect();
        let fits = terms.iter().zip(ranks).all(|(term, rank)| rank.is_none_or(|rank| rank == term.len()));
        let output = match right {
            Some(right) => written_out(right, if right.contains("...") { broadcast.len() } else { 0 }),
            None => {
                let all: Vec<char> = terms.concat();
                let mut once = unique(&all);
                once.retain(|label| {
                    !broadcast.contains(label) && all.iter().filter(|other| *other == label).count() == 1
                });
                once.sort_unstable();
                broadcast.iter().copied().chain(once).collect()
            }
        };
        fits.then_some(Self { terms, output })
    }
}

/// The labels, each once.
fn unique(labels: &[char]) -> Vec<char> {
    let mut found = Vec::new();
    labels.iter().for_each(|label| {
        if !found.contains(label) {
            found.push(*label)
        }
    });
    found
}

/// The product of the factors, summed over all labels but these.
fn contracted(factors: &[(&[char], &Value)], labels: &[char], g: &Builder<'_>) -> Value {
    if let [(term, value)] = factors
        && term.len() == labels.len()
    {
        let perm: Vec<i64> =
            labels.iter().filter_map(|label| Some(term.iter().position(|other| other == label)? as i64)).collect();
        return g.transpose(value, &perm);
    }
    let terms: Vec<String> = factors.iter().map(|(term, _)| term.iter().collect()).collect();
    let equation = format!("{}->{}", terms.join(","), labels.iter().collect::<String>());
    let dim = |label: &char| {
        let place = |term: &[char]| term.iter().position(|other| other == label);
        let sizes = factors.iter().filter_map(|(term, value)| g.fact(value).dim(place(term)? as i64).cloned());
        // Along an axis of size 1 a factor is the same for all.
        let larger = |a: Dim, b: Dim| if a.known() == Some(1) || b.known().is_some_and(|b| b != 1) { b } else { a };
        sizes.reduce(larger).unwrap_or(Dim::Unknown)
    };
    let shape = labels.iter().map(dim).collect();
    let fact = Fact { element: g.fact(factors[0].1).element, shape: Some(shape) };
    let values: Vec<&Value> = factors.iter().map(|(_, value)| *value).collect();
    g.node("Einsum", &values, vec![AttributeProto::string("equation", &equation)], fact)
}

/// `dx`, which has an axis for each of `own`, in the shape of `x`, which may have several for one label: on their
/// diagonal, with zeros elsewhere. It is summed over axes along which x was broadcast.
fn spread(dx: &Value, own: &[char], term: &[char], x: &Value, g: &Builder<'_>) -> Value {
    if own.len() == term.len() {
        return g.sum_to(expanded(dx, x, g), x);
    }
    let mut dx = dx.clone();
    // The axes of the labels' second and further places are added where they belong, with a mask each.
    let further: Vec<i64> = (0..term.len()).filter(|&at| term[..at].contains(&term[at])).map(|at| at as i64).collect();
    dx = g.unsqueeze(&dx, &further);
    for &axis in &further {
        let first = term.iter().position(|label| *label == term[axis as usize]).unwrap_or_default() as i64;
        let mask = diagonal(x, first, axis, term.len() as i64, g);
        dx = g.mul(&dx, &mask);
    }
    g.sum_to(expanded(&dx, x, g), x)
}

/// `dx` at least as large as `x` along every axis.
fn expanded(dx: &Value, x: &Value, g: &Builder<'_>) -> Value {
    let (own, like) = (g.fact(dx), g.fact(x));
    let covers = |axis: i64| match (own.dim(axis), like.dim(axis)) {
        (Some(own), Some(like)) => own.is(like) || like.known() == Some(1) || own.known().is_some_and(|own| own != 1),
        _ => false,
    };
    if own.rank().is_some_and(|rank| (0..rank as i64).all(covers)) {
        return dx.clone();
    }
    let shape = g.shape_of(x);
    let dims = own.shape.as_ref().zip(like.shape.as_ref()).map(|(own, like)| {
        let larger = |(own, like): (&Dim, &Dim)| if own.known() == Some(1) { like.clone() } else { own.clone() };
        own.iter().zip(like).map(larger).collect()
    });
    g.node("Expand", &[dx, &shape], vec![], Fact { element: own.element, shape: dims })
}

/// 1 where the places along two axes of `x` are the same, 0 elsewhere; of as many axes as `x` has.
fn diagonal(x: &Value, one: i64, other: i64, rank: i64, g: &Builder<'_>) -> Value {
    let [one, other] = [one, other].map(|axis| {
        let dim = g.fact(x).dim(axis).cloned().unwrap_or(Dim::Unknown);
        let size = match dim.known() {
            Some(size) => g.int64(size),
            None => g.squeeze(g.size_of(x, axis), &[0]),
        };
        let fact = Fact { element: DataType::Int64, shape: Some(vec![dim]) };
        let places = g.node("Range", &[&g.int64(0), &size, &g.int64(1)], vec![], fact);
        g.unsqueeze(places, &(0..rank).filter(|at| *at != axis).collect::<Vec<_>>())
    });
    g.mask(g.compare("Equal", one, other), x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_out(equation: &str, ranks: &[usize]) -> Option<String> {
        let ranks: Vec<_> = ranks.iter().copied().map(Some).collect();
        let Equation { terms, output } = Equation::of(equation, &ranks)?;
        let terms: Vec<String> = terms.iter().map(|term| term.iter().collect()).collect();
        Some(format!("{}->{}", terms.join(","), output.iter().collect::<String>()))
    }

    #[test]
    fn an_equation_is_written_out() {
        assert_eq!(written_out("ij, jk", &[2, 2]).as_deref(), Some("ij,jk->ik"));
        assert_eq!(written_out("ba", &[2]).as_deref(), Some("ba->ab"));
        assert_eq!(written_out("ii", &[2]).as_deref(), Some("ii->"));
        assert_eq!(written_out("...ii->...i", &[4]).as_deref(), Some("abii->abi"));
        assert_eq!(written_out("...j,j...->...", &[3, 2]).as_deref(), Some("abj,jb->ab"));
        assert_eq!(written_out("ij...,jk...", &[3, 2]).as_deref(), Some("ija,jk->aik"));
        assert_eq!(written_out("ij,jk->ik", &[2, 3]), None);
        assert_eq!(written_out("ij->ij", &[2, 2]), None);
    }

    #[test]
    fn an_ellipsis_needs_the_number_of_axes() {
        assert!(Equation::of("...i->i", &[None]).is_none());
        assert!(Equation::of("ij->i", &[None]).is_some());
    }
}
