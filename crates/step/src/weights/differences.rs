//! Where what trains is not what the network's parameters are, in words.

use super::names::pattern;
use super::record::{Kind, Record, Source, modules};
use super::verdict::{Reason, Verdict};
use foldhash::{HashMap, HashSet};
use gnp_model::onnx::proto::{GraphProto, NodeProto};

/// Parameters that PyTorch recorded and that are not in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// An operation that is left reads them; their elements went into another constant.
    pub folded: Vec<String>,
    /// Nothing that is left reads them.
    pub absent: Vec<String>,
}

impl Lost {
    /// What `record` has and `graph` has not. Of weights that are one in the module the exporter keeps one; the others
    /// are not lost.
    pub(super) fn of(record: &Record, graph: &GraphProto) -> Self {
        let mut there: HashSet<&str> = HashSet::default();
        for name in graph.initializer.iter().map(|tensor| tensor.name()) {
            match record.source(name) {
                Source::Tensor(Kind::Parameter) | Source::Changed => _ = there.insert(name),
                Source::Made(parameters) => there.extend(parameters),
                _ => {}
            }
        }
        let absent: HashSet<&str> = record.absent(graph).into_iter().collect();
        let mut used: HashSet<String> = HashSet::default();
        let reads = |node: &&NodeProto| record.read_by(node).is_some_and(|tensors| !tensors.is_empty());
        graph.node.iter().filter(reads).for_each(|node| used.extend(modules(node).pop()));
        let is_alias = |name: &str| name.rsplit_once('.').is_some_and(|(module, _)| used.contains(module));
        let mut lost = Self::default();
        for name in record.parameters().iter().filter(|name| !there.contains(name.as_str())) {
            if !absent.contains(name.as_str()) {
                lost.folded.push(name.clone());
            } else if !is_alias(name) {
                lost.absent.push(name.clone());
            }
        }
        lost
    }
}

/// What the user should know of weights that are not those of the network, and of guesses.
pub(super) fn warnings(verdicts: &[Verdict], lost: &Lost) -> Vec<String> {
    let trained = |holds: &dyn Fn(&Reason) -> bool| -> Vec<&str> {
        verdicts.iter().filter(|v| v.trains && holds(&v.reason)).map(|v| v.name.as_str()).collect()
    };
    let folded = folded(&trained(&|reason| *reason == Reason::Folded), lost);
    let computed = computed(&trained(&|reason| matches!(reason, Reason::Computed(_))));
    let products = products(&trained(&|reason| matches!(reason, Reason::Place(_, _, true))));
    let guesses = [true, false].into_iter().filter_map(|trains| guesses(verdicts, trains));
    [folded, computed, products, absent(lost)].into_iter().flatten().chain(guesses).collect()
}

/// Layers that were folded into `trained`.
fn folded(trained: &[&str], lost: &Lost) -> Option<String> {
    let into = if trained.is_empty() { String::new() } else { format!(" into {}", some(trained)) };
    let lost: Vec<&str> = lost.folded.iter().map(String::as_str).collect();
    (!trained.is_empty() || !lost.is_empty()).then(|| {
        format!(
            "the exporter folded {}{into}: the products train in their place, and BatchNormalization that was folded does not follow the \
             batches. To train what PyTorch trains, export with optimize=False",
            if lost.is_empty() { "other layers".to_owned() } else { some(&lost) },
        )
    })
}

/// Trained constants that were computed from parameters, as the exporter recorded.
fn computed(trained: &[&str]) -> Option<String> {
    (!trained.is_empty()).then(|| {
        format!(
            "{} {} computed from parameters when the model was exported, and {} in their place, each element for itself. To train what \
             PyTorch trains, export with optimize=False",
            some(trained),
            if trained.len() == 1 { "was" } else { "were" },
            if trained.len() == 1 { "trains" } else { "train" },
        )
    })
}

/// Trained constants that are no weights of the network, as their places tell.
fn products(trained: &[&str]) -> Option<String> {
    (!trained.is_empty()).then(|| {
        format!(
            "{}: the exporter computed {} from weights that the file does not hold (a BatchNormalization folded into a convolution, a table \
             that was looked up). To train those, export without folding constants{}",
            some(trained),
            if trained.len() == 1 { "it" } else { "them" },
            if trained.iter().any(|name| name.starts_with("onnx::")) {
                "; from PyTorch with do_constant_folding=False and training=TrainingMode.TRAINING"
            } else {
                ""
            },
        )
    })
}

/// Parameters of the network that the file does not hold.
fn absent(lost: &Lost) -> Option<String> {
    let names: Vec<&str> = lost.absent.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        format!(
            "not in the file: {}. The network does not use them, or the exporter merged layers that were equal; then export it \
             with optimize=False",
            some(&names)
        )
    })
}

/// What trains, or does not, by a guess.
fn guesses(verdicts: &[Verdict], trains: bool) -> Option<String> {
    let (one, several, flag) =
        if trains { ("trains", "train", "--freeze") } else { ("does not train", "do not train", "--also-train") };
    let guessed: Vec<&Verdict> = verdicts.iter().filter(|v| v.undecided && v.trains == trains).collect();
    let groups = groups(&guessed);
    let first = groups.first()?.glob();
    let shown = groups.iter().take(4).map(Group::text).collect::<Vec<_>>().join(", ");
    let more: usize = groups.iter().skip(4).map(|group| group.count).sum();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let verb = if guessed.len() == 1 { one } else { several };
    Some(format!("a guess: {shown}{more} {verb}; {flag} '{first}' says otherwise"))
}

/// Guesses whose names differ in numbers alone.
struct Group<'v> {
    first: &'v Verdict,
    count: usize,
}

impl Group<'_> {
    fn glob(&self) -> String {
        if self.count > 1 { pattern(&self.first.name) } else { self.first.name.clone() }
    }

    fn text(&self) -> String {
        let times = if self.count > 1 { format!("{} × ", self.count) } else { String::new() };
        format!("{times}`{}` ({})", self.glob(), self.first.reason)
    }
}

/// In the order of their first members.
fn groups<'v>(guessed: &[&'v Verdict]) -> Vec<Group<'v>> {
    let mut groups: Vec<Group<'v>> = Vec::new();
    let mut places: HashMap<(String, String), usize> = HashMap::default();
    for verdict in guessed {
        let place = *places.entry((pattern(&verdict.name), verdict.reason.to_string())).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.count += 1,
            None => groups.push(Group { first: verdict, count: 1 }),
        }
    }
    groups
}

/// Some of the names, and how many there are.
fn some(names: &[&str]) -> String {
    let shown = names.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 3 { format!("{shown} and {} more", names.len() - 3) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Place;

    fn verdict(name: &str, trains: bool, reason: Reason, undecided: bool) -> Verdict {
        Verdict { name: name.into(), shape: vec![2], trains, reason, undecided }
    }

    #[test]
    fn guesses_of_one_pattern_are_one() {
        let number = |name: &str| verdict(name, false, Reason::OneNumber, true);
        let operand = Reason::Place(Place::Operand, "Mul".into(), false);
        let verdicts = [number("c.0"), number("c.12"), verdict("gain", true, operand, true), number("shift")];
        let expected = [
            "a guess: `gain` (operand of Mul, behind weights) trains; --freeze 'gain' says otherwise",
            "a guess: 2 × `c.*` (single number), `shift` (single number) do not train; --also-train 'c.*' says otherwise",
        ];
        assert_eq!(warnings(&verdicts, &Lost::default()), expected);
        assert!(warnings(&[verdict("w", true, Reason::Flag("--train"), false)], &Lost::default()).is_empty());
    }

    #[test]
    fn what_stands_in_for_parameters_is_said_with_what_was_lost() {
        let verdicts = [
            verdict("conv.weight", true, Reason::Folded, false),
            verdict("val_7", true, Reason::Computed(vec!["table".into()]), false),
            verdict("onnx::Conv_3", true, Reason::Place(Place::Weight, "Conv".into(), true), false),
        ];
        let lost = Lost { folded: vec!["bn.weight".into()], absent: vec!["head.bias".into()] };
        let starts = [
            "the exporter folded `bn.weight` into `conv.weight`: the products train",
            "`val_7` was computed from parameters when the model was exported, and trains in their place",
            "`onnx::Conv_3`: the exporter computed it from weights that the file does not hold",
            "not in the file: `head.bias`.",
        ];
        let found = warnings(&verdicts, &lost);
        assert_eq!(found.len(), starts.len());
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
        }
        assert!(found[2].contains("from PyTorch with do_constant_folding=False"));
    }
}
