//! What trains and what does not, as a person reads it: names of one pattern on one line, with the reason.

use super::{count, share};
use crate::escaped;
use crate::weights::{Verdict, pattern};
use foldhash::HashMap;
use std::fmt::Write as _;

/// How many lines are shown of either side unless all are asked for.
const LINES: usize = 20;

/// A column is not padded to more than this.
const WIDEST: usize = 56;

/// Constants of one pattern, one shape and one reason.
struct Group<'v> {
    pattern: String,
    reason: String,
    members: Vec<&'v Verdict>,
}

impl Group<'_> {
    /// Its name, how many it has, its shape, and why.
    fn cells(&self) -> [String; 4] {
        let times = if self.members.len() > 1 { format!("× {}", self.members.len()) } else { String::new() };
        let undecided = if self.members[0].undecided { " (undecided)" } else { "" };
        let shape = format!("{:?}", self.members[0].shape);
        let [name, reason] = [&self.pattern, &self.reason].map(|text| escaped::line(text));
        [name.into_owned(), times, shape, format!("{reason}{undecided}")]
    }
}

/// Both sides, in lines of text: grouped, or with `all` constants in full.
pub fn weights(verdicts: &[Verdict], all: bool) -> String {
    let mut text = String::new();
    let (trained, left): (Vec<_>, Vec<_>) = verdicts.iter().partition(|verdict| verdict.trains);
    for (title, side) in [("Trains", trained), ("Does not train", left)] {
        if side.is_empty() {
            continue;
        }
        let numbers = side.iter().map(|verdict| verdict.numbers()).sum();
        let (of, numbers) = (share(side.len(), verdicts.len()), count(numbers, "number"));
        let _ = writeln!(text, "{title}: {of}, {numbers}");
        let groups = groups(&side, all);
        let (shown, rest) = groups.split_at(if all { groups.len() } else { groups.len().min(LINES) });
        let rows: Vec<[String; 4]> = shown.iter().map(Group::cells).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).min(WIDEST);
        let [names, counts, shapes] = [0, 1, 2].map(width);
        for [name, count, shape, reason] in &rows {
            let count = if counts > 0 { format!("  {count:counts$}") } else { String::new() };
            let _ = writeln!(text, "  {name:names$}{count}  {shape:shapes$}  {reason}");
        }
        if !rest.is_empty() {
            let rest: usize = rest.iter().map(|group| group.members.len()).sum();
            let _ = writeln!(text, "  and {rest} more (-v names all)");
        }
    }
    text
}

/// In the order of their first members.
fn groups<'v>(side: &[&'v Verdict], all: bool) -> Vec<Group<'v>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<_, usize> = HashMap::default();
    for (index, verdict) in side.iter().enumerate() {
        let (name, reason) = (pattern(&verdict.name), pattern(&verdict.reason.to_string()));
        let key = (name.clone(), &verdict.shape, reason.clone(), verdict.undecided, if all { index } else { 0 });
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Group { pattern: name, reason, members: vec![] });
            groups.len() - 1
        });
        groups[place].members.push(verdict);
    }
    // What has no second member keeps its name.
    for group in groups.iter_mut().filter(|group| group.members.len() == 1) {
        group.pattern.clone_from(&group.members[0].name);
        group.reason = group.members[0].reason.to_string();
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Kind, Reason};

    fn verdict(name: &str, shape: &[i64], trains: bool) -> Verdict {
        let kind = if trains { Kind::Parameter } else { Kind::Buffer };
        Verdict { name: name.into(), shape: shape.to_vec(), trains, reason: Reason::Recorded(kind), undecided: false }
    }

    #[test]
    fn names_that_differ_in_numbers_are_one_line() {
        let verdicts = [
            verdict("blocks.0.fc1.weight", &[8, 4], true),
            verdict("blocks.11.fc1.weight", &[8, 4], true),
            verdict("head.bias", &[3], true),
            verdict("mask", &[2, 2], false),
        ];
        let expected = "\
Trains: 3 of 4 float constants, 67 numbers
  blocks.*.fc*.weight  × 2  [8, 4]  parameter, as the exporter recorded
  head.bias                 [3]     parameter, as the exporter recorded
Does not train: 1 of 4 float constants, 4 numbers
  mask  [2, 2]  buffer, as the exporter recorded
";
        assert_eq!(weights(&verdicts, false), expected);
        assert!(weights(&verdicts, true).contains("blocks.11.fc1.weight"));
    }
}
