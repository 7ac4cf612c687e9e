//! Formulas, term by term.

use super::{Formula, Operation, Term};

/// A term of the formula that is being built, or of a finished one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TermId(pub(super) usize);

impl TermId {
    /// Its place among [`Formula::terms`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A formula that is being built. A term that is there already is not made a second time.
#[derive(Clone, Debug, Default)]
pub struct Builder(Vec<Term>);

impl Builder {
    /// The operand of this number.
    pub fn operand(&mut self, number: usize) -> TermId {
        self.term(Term::Operand(number))
    }

    /// A number.
    pub fn constant(&mut self, value: f32) -> TermId {
        self.term(Term::Constant(if value.is_nan() { f32::NAN } else { value }))
    }

    /// An operation on terms of this builder.
    ///
    /// # Panics
    /// Where there are not as many arguments as [`Operation::arity`] says, or one is of another builder.
    pub fn apply(&mut self, operation: Operation, arguments: &[TermId]) -> TermId {
        assert_eq!(arguments.len(), operation.arity(), "{operation:?} has another number of arguments");
        assert!(arguments.iter().all(|id| id.0 < self.0.len()), "an argument of {operation:?} is of another formula");
        self.term(Term::Apply(operation, arguments.to_vec()))
    }

    /// How many terms there are, used or not.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no term.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn term(&mut self, term: Term) -> TermId {
        let known = self.0.iter().position(|known| *known == term);
        TermId(known.unwrap_or_else(|| {
            self.0.push(term);
            self.0.len() - 1
        }))
    }

    /// The formula of this result: the terms that it needs, in the order of its text.
    pub fn finish(self, result: TermId) -> Formula {
        let mut places = vec![None; self.0.len()];
        let mut terms = Vec::new();
        // Arguments first, from left to right; a term is looked at again when its arguments are there.
        let mut pending = vec![result.0];
        while let Some(&id) = pending.last() {
            let arguments: &[TermId] = if let Term::Apply(_, arguments) = &self.0[id] { arguments } else { &[] };
            let missing = arguments.iter().rev().filter(|argument| places[argument.0].is_none());
            let before = pending.len();
            pending.extend(missing.map(|argument| argument.0));
            if pending.len() > before {
                continue;
            }
            pending.pop();
            if places[id].is_none() {
                places[id] = Some(TermId(terms.len()));
                let moved = arguments.iter().filter_map(|argument| places[argument.0]).collect();
                let is_apply = if let Term::Apply(operation, _) = &self.0[id] { Some(*operation) } else { None };
                terms.push(is_apply.map_or_else(|| self.0[id].clone(), |operation| Term::Apply(operation, moved)));
            }
        }
        Formula(terms)
    }
}
