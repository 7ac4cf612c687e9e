//! Weights that were one tensor and are several in the file, since an exporter transposed one of them.

use super::edit::{Constants, Edit};
use super::merged::{Found, Readers};
use super::names::{self, Name};
use super::record::{Kind, Record, Source};
use super::values::{Elements, Values};
use super::{Sharing, Tie};
use foldhash::{HashMap, HashSet};
use gnp_base::choice::{Choice, nearest};
use gnp_base::{Error, Result};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::TensorProto;

/// Tensors of fewer elements may be equal by chance.
const TOO_SMALL: usize = 16;

pub(super) struct Search<'g, 'a> {
    pub constants: &'a Constants<'g>,
    pub readers: &'a Readers<'g>,
    pub record: Option<&'a Record>,
    pub sharing: &'a Sharing,
    pub values: &'a mut Values,
    /// Constants that are tied or separated already.
    pub taken: HashSet<String>,
}

impl<'g> Search<'g, '_> {
    /// # Errors
    /// Where `--tie` names what cannot be tied, `--untie` what is no shared weight, or external data cannot be read.
    pub fn run(mut self, found: &mut Found, warnings: &mut Vec<String>) -> Result<()> {
        for tie in &self.sharing.tie {
            found.edits.push(self.as_the_user_says(tie)?);
            self.taken.insert(tie.name.clone());
        }
        let untied: HashSet<&str> = self.sharing.untie.iter().map(String::as_str).collect();
        let mut apart = Vec::new();
        let pairs = self.equal_pairs()?;
        let is_copy = |name: &String| pairs.iter().any(|(copy, ..)| copy == name);
        if let Some(name) = found.unsettled.iter().find(|name| !is_copy(name)) {
            return Err(Error::input(format!("--untie {name}: no float constant of this name is shared"))
                .help(nearest(name, self.readers.keys().copied())));
        }
        for (name, to, transposed) in pairs {
            if self.taken.contains(name) || untied.contains(name) {
                continue;
            }
            match self.why_one(name, to) {
                Some(why) => {
                    let what = format!("`{name}` is `{to}`{}, {why}", if transposed { " transposed" } else { "" });
                    found.choices.push(Choice::with(what, format!("--untie {name}")));
                    found.edits.push(Edit::Tie { name: name.to_owned(), to: to.to_owned(), transposed });
                    self.taken.insert(name.to_owned());
                }
                None => apart.push((name, to)),
            }
        }
        if let Some((name, to)) = apart.first() {
            let many = if apart.len() == 1 { String::new() } else { format!(" ({} such pairs)", apart.len()) };
            warnings.push(format!(
                "`{name}` and `{to}` hold the same numbers and train apart{many}, as copies of a layer do; where they are one weight \
                 in the network, say so: --tie {name}={to}"
            ));
        }
        Ok(())
    }

    fn as_the_user_says(&mut self, tie: &Tie) -> Result<Edit> {
        let flag = || format!("--tie {}={}", tie.name, tie.to);
        let mut elements = |name: &str| {
            let tensor = self.constants.get(name).ok_or_else(|| {
                let names = self.readers.keys().copied();
                Error::input(format!("{}: the graph has no float constant `{name}`", flag())).help(nearest(name, names))
            })?;
            Ok::<_, Error>((tensor, self.values.of(tensor)?))
        };
        let ((name, a), (to, b)) = (elements(&tie.name)?, elements(&tie.to)?);
        let is_transpose = a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a.is_transpose_of(b));
        let reversed = || to.dims.iter().rev().copied().collect::<Vec<_>>();
        let transposed = if name.dims == to.dims {
            // A square matrix may be either.
            is_transpose && !a.zip(b).is_some_and(|(a, b)| a.equal(&b))
        } else if name.dims.len() == 2 && name.dims == reversed() {
            true
        } else {
            let shapes = format!("{:?} and {:?}", name.dims, to.dims);
            return Err(Error::input(format!("{}: their shapes are {shapes}", flag()))
                .help("tie weights of one shape, or a matrix and its transpose"));
        };
        Ok(Edit::Tie { name: tie.name.clone(), to: tie.to.clone(), transposed })
    }

    /// Pairs of weights that hold the same numbers, which are not all one: the copy, the other, and whether it is
    /// transposed.
    fn equal_pairs(&mut self) -> Result<Vec<(&'g str, &'g str, bool)>> {
        let mut tensors: Vec<(&str, &TensorProto)> = self
            .constants
            .iter()
            .filter(|(name, t)| {
                let is_read = self.readers.contains_key(name) && !self.taken.contains(*name);
                is_read
                    && self.may_train(name)
                    && t.element() == Some(DataType::Float)
                    && t.element_count() >= TOO_SMALL
            })
            .collect();
        // Those that keep their names in the module first: the others are copies of them.
        tensors.sort_by_cached_key(|(name, _)| (is_made(name), *name));
        // What is equal has the same sizes and ends, transposed or not.
        let mut alike: HashMap<_, Vec<(&str, Elements)>> = HashMap::default();
        let mut pairs = Vec::new();
        for (name, tensor) in tensors {
            let Some(elements) = self.values.of(tensor)? else { continue };
            let (mut sizes, is_matrix) = (tensor.dims.clone(), tensor.dims.len() == 2);
            if is_matrix {
                sizes.sort_unstable();
            }
            let others = alike.entry((sizes, elements.ends())).or_default();
            let equal = others.iter().find_map(|(other, values)| {
                let transposed = is_matrix && !elements.equal(values) && elements.is_transpose_of(values);
                (transposed || elements.equal_in_shape(values)).then_some((*other, transposed))
            });
            match equal {
                Some((other, transposed)) if elements.fill().is_none() => pairs.push((name, other, transposed)),
                Some(_) => {}
                None => others.push((name, elements)),
            }
        }
        Ok(pairs)
    }

    /// Whether a constant may be a weight, by what is known of it before its place is.
    fn may_train(&self, name: &str) -> bool {
        match self.record.map(|record| record.source(name)) {
            Some(Source::Tensor(kind)) => kind == Kind::Parameter,
            Some(Source::Made(_) | Source::Changed) => true,
            Some(Source::Literal) => false,
            Some(Source::Unknown) | None => {
                matches!(names::tells(name), Name::Parameter | Name::Computed | Name::Silent)
            }
        }
    }

    /// What shows that two equal weights are one in the network; none where they may be copies.
    fn why_one(&self, name: &str, to: &str) -> Option<&'static str> {
        if let Some(record) = self.record {
            let is_of = |name: &str, to: &str| match record.source(name) {
                Source::Made(parameters) => {
                    parameters.as_slice() == [to] && record.source(to) == Source::Tensor(Kind::Parameter)
                }
                _ => false,
            };
            let sources = [name, to].map(|constant| record.source(constant));
            let same = matches!(&sources, [Source::Made(a), Source::Made(b)] if a == b);
            return (is_of(name, to) || same).then_some("as the exporter recorded");
        }
        // An embedding table that scores are taken with, too.
        let looked_up = |name: &str| self.is_read_by(name, |op, input| op == "Gather" && input == 0);
        let multiplied = |name: &str| self.is_read_by(name, |op, _| matches!(op, "MatMul" | "Gemm"));
        let tied = (looked_up(name) && multiplied(to)) || (multiplied(name) && looked_up(to));
        tied.then_some("since one is looked up and the other multiplies")
    }

    fn is_read_by(&self, name: &str, reads: impl Fn(&str, usize) -> bool) -> bool {
        self.readers.get(name).is_some_and(|readers| readers.iter().any(|(node, input)| reads(node.op_type(), *input)))
    }
}

/// Whether the name is one that an exporter made up.
fn is_made(name: &str) -> bool {
    matches!(names::tells(name), Name::Literal | Name::Computed)
}
