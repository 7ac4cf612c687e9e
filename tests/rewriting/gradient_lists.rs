//! Lists of operators in `docs/gradients.md`, which `GNP_GRADIENT_TABLE=write` writes as it does the tables of
//! [`super::gradients`]: those that have no gradient, with the reason, and those of other programs.
use crate::gradients::{document, exceptions, words};
use gnp::autodiff::{Rule, registered};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The operators before a colon, and what stands behind it.
fn reasons(path: &Path) -> Vec<(Vec<String>, String)> {
    let lines = exceptions(path).into_iter();
    lines.map(|(names, reason)| (names.split_whitespace().map(str::to_owned).collect(), reason)).collect()
}

#[test]
fn every_standard_operator_has_a_rule_or_a_reason() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gradients");
    let checked: BTreeSet<String> = words(&tests.join("operators.txt")).into_iter().collect();
    let zero: BTreeSet<String> =
        registered().filter(|(.., rule)| matches!(rule, Rule::Zero)).map(|(_, name, _)| name.to_owned()).collect();
    let without = reasons(&tests.join("without.txt"));
    let known: BTreeSet<&String> = checked.iter().chain(&zero).collect();
    let mut failed = String::new();
    let named: BTreeSet<&String> = without.iter().flat_map(|(names, _)| names).collect();
    named
        .intersection(&known)
        .for_each(|name| writeln!(failed, "{name}: has a rule, and a reason to have none").unwrap());
    let standard = include_str!("../../crates/model/src/schema/operators.txt").lines();
    let standard: BTreeSet<String> = standard.filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
    for name in standard.iter().filter(|name| !known.contains(name) && !named.contains(name)) {
        writeln!(failed, "{name}: has no rule; list it in without.txt, with the reason").unwrap();
    }
    assert!(failed.is_empty(), "{failed}");

    let names = |names: &[String]| names.join(", ");
    let mut table = String::from("| Operators | Why |\n|---|---|\n");
    let derivative = zero.into_iter().filter(|name| standard.contains(name)).collect::<Vec<_>>();
    writeln!(table, "| {} | the derivative is zero, or the results are no floats |", names(&derivative)).unwrap();
    for (operators, reason) in &without {
        writeln!(table, "| {} | {reason} |", names(operators)).unwrap();
    }
    document("without", &table);
    assert_written(&table);
}

/// Operators beside the programs that say they differentiate them: those of `tests/python/gradients/peers.py`, and ONNX
/// Runtime's training API.
#[test]
fn operators_stand_beside_those_of_others() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gradients");
    let zero: BTreeSet<&str> =
        registered().filter(|(.., rule)| matches!(rule, Rule::Zero)).map(|(_, name, _)| name).collect();
    let without_zero = |names: Vec<String>| {
        names.into_iter().filter(|name| !zero.contains(name.as_str())).collect::<BTreeSet<String>>()
    };
    let mut columns = vec![("gnp".to_owned(), without_zero(words(&tests.join("operators.txt"))))];
    let mut peers = operators_by_name(&tests.join("peers.txt"));
    peers.push(("ONNX Runtime 1.19.2".into(), words(&tests.join("ort_training_operators.txt"))));
    columns.extend(peers.into_iter().map(|(name, operators)| (name, without_zero(operators))));
    let all: BTreeSet<&String> = columns.iter().flat_map(|(_, operators)| operators).collect();
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut table = row(["Operator".into()].into_iter().chain(columns.iter().map(|(name, _)| name.clone())).collect());
    table += &row(vec!["---".into(); columns.len() + 1]);
    let counts = columns.iter().map(|(_, operators)| operators.len().to_string());
    table += &row(["all".into()].into_iter().chain(counts).collect());
    // Ours are checked by finite differences, and those of ONNX Runtime compared with ours.
    let cell = |column: usize, operator: &String| match columns[column].1.contains(operator) {
        false => "–",
        true if column == 0 => "checked",
        true if column + 1 == columns.len() => "compared",
        true => "listed",
    };
    for operator in all {
        let cells = (0..columns.len()).map(|column| cell(column, operator).to_owned());
        table += &row([operator.clone()].into_iter().chain(cells).collect());
    }
    document("peers", &table);
    assert_written(&table);
}

/// The lines `name: operators`, in their order.
fn operators_by_name(path: &Path) -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, all)| (name.into(), all.split_whitespace().map(str::to_owned).collect())).collect()
}

/// The page has the table, unless it is being written.
fn assert_written(table: &str) {
    if std::env::var_os("GNP_GRADIENT_TABLE").is_none() {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gradients.md")).unwrap();
        assert!(page.contains(table), "docs/gradients.md is old: GNP_GRADIENT_TABLE=write cargo test gradient");
    }
}
