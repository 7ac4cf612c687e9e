//! Every gradient rule against finite differences, through engines that are not ours: the node tests of the ONNX
//! standard and cases of our own (`tests/python/gradients`), for every operator in `tests/gradients/operators.txt`.
//!
//! A case passes where directional derivatives agree to 1e-6 in double precision, or to 1e-3 in float where no engine
//! has kernels for doubles, and where the same gradient runs on stock ONNX Runtime in float, with shapes known and
//! unknown. Cases that do not stand in `tests/gradients/exceptions.txt`, with the reason; a line there that is no
//! longer needed fails the test, too.
//!
//! The gradients are then compared with those of ONNX Runtime's training API, for the operators that it has gradients
//! for (`ort_training_operators.txt`; where it is wrong, `ort_training_differences.txt` says how).
//!
//!     GNP_GRADIENT_TABLE=write cargo test --test rewriting gradients
//!
//! writes the tables in `docs/gradients.md` anew.
use crate::support::{alone, python};
use gnp::autodiff::{Gradients, Rule, gradient, registered};
use gnp::composite::write_out;
use gnp::graph::{Builder, Graph, Value};
use gnp::lowering::{BatchNorm, Computes, Dropout, Random, Settings, expand, lower};
use gnp::normalise::normalise;
use gnp::onnx::proto::ValueInfoProto;
use gnp::onnx::{self, WriteOptions};
use gnp::shapes::analyse;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

const KINDS: [&str; 3] = ["double", "float", "dynamic"];
const DOUBLE_TOLERANCE: f64 = 1e-6;
const FLOAT_TOLERANCE: f64 = 1e-3;

/// A case, as `cases.py` describes it.
#[derive(Deserialize)]
struct Case {
    case: String,
    /// None where it is the body of a function, of several operators.
    operator: Option<String>,
    unusable: Option<String>,
    #[serde(default)]
    wrt: Vec<String>,
    /// Whether it normalises with the statistics of the batch, or draws.
    #[serde(default)]
    training: bool,
}

impl Case {
    /// What the model does as it is. Masks are the engine's, drawn with the node's own seed, as in the model itself.
    fn choices(&self) -> Settings {
        let random = Random::Engine;
        if self.training {
            Settings { batch_norm: BatchNorm::Train, dropout: Dropout::Keep, random, ..Settings::default() }
        } else {
            Settings { batch_norm: BatchNorm::Frozen, dropout: Dropout::Off, random, ..Settings::default() }
        }
    }
}

/// What `differences.py` found.
#[derive(Deserialize, Default)]
struct Found {
    case: String,
    precision: Option<String>,
    error: Option<f64>,
    float: Option<f64>,
    dynamic: Option<f64>,
    failures: BTreeMap<String, String>,
}

/// The words of a file of lists, comments left out.
pub fn words(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The lines `case: reason`.
pub fn exceptions(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| line.split_once(": ").expect(line)).map(|(case, reason)| (case.into(), reason.into())).collect()
}

/// Writes the model with its gradients as outputs, `gradient:<input>`.
fn differentiate(folder: &Path, case: &Case, kind: &str) -> gnp::Result<()> {
    let mut model = onnx::read(folder.join(format!("{}.{kind}.onnx", case.case)))?;
    normalise(&mut model)?;
    let facts = analyse(&model, &BTreeMap::new())?;
    let mut graph = Graph::knowing(std::mem::take(&mut model.graph), facts)?;
    write_out(&mut graph)?;
    lower(&mut graph, &case.choices(), Gradients::Standard, &Default::default())?;
    let wrt: Vec<Value> = case.wrt.iter().map(|name| name.as_str().into()).collect();
    let gradients = gradient(&mut graph, &"check/loss".into(), &wrt, Gradients::Standard, "gradient")?;
    for (input, gradient) in wrt.iter().zip(gradients) {
        if let Some(gradient) = gradient {
            let name = format!("gradient:{input}");
            Builder::new(&mut graph, "output").alias(&gradient, &name)?;
            graph.insert_output(0, ValueInfoProto { name: Some(name), ..Default::default() });
        }
    }
    expand(&mut graph, Computes::Any)?;
    graph.remove_unused();
    model.graph = graph.into_proto();
    let path = folder.join(format!("{}.{kind}.gradient.onnx", case.case));
    onnx::write(model, path, &WriteOptions::default()).map(|_| ())
}

/// Runs `differences.py` in as many processes as there are processors, at most four.
fn differences(python: &Path, script: &Path, folder: &Path) -> Vec<Found> {
    let shards = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let run = |shard: usize| {
        let mut command = Command::new(python);
        command.arg(script).arg(folder).arg(format!("{shard}/{shards}"));
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<_> = (0..shards).map(run).collect();
    let outputs = running.into_iter().map(|process| process.wait_with_output().unwrap());
    let mut found = Vec::new();
    for output in outputs {
        assert!(output.status.success());
        found.extend(
            String::from_utf8(output.stdout).unwrap().lines().map(|l| serde_json::from_str::<Found>(l).unwrap()),
        );
    }
    found
}

/// What is wrong with a case, by the name that an exception would have: `case`, or `case/kind` where only one kind
/// fails.
fn problems(case: &Case, errors: &BTreeMap<&str, String>, found: Option<&Found>) -> Vec<(String, String)> {
    let name = &case.case;
    if let Some(why) = &case.unusable {
        return vec![(name.clone(), why.clone())];
    }
    let said = |kind: &str| errors.get(kind).cloned().or_else(|| found?.failures.get(kind).cloned());
    let (Some(found), Some(error)) = (found, found.and_then(|f| f.error)) else {
        let why = said("double").unwrap_or_else(|| format!("{:?}", found.map(|f| &f.failures)));
        return vec![(name.clone(), why)];
    };
    let double = found.precision.as_deref() == Some("double");
    let tolerance = if double { DOUBLE_TOLERANCE } else { FLOAT_TOLERANCE };
    if error.is_nan() || error > tolerance {
        return vec![(name.clone(), format!("relative error {error:.1e} in {}", found.precision.as_deref().unwrap()))];
    }
    let distance = [("float", found.float), ("dynamic", found.dynamic)];
    let wrong = distance.into_iter().filter_map(|(kind, distance)| match distance {
        Some(d) if d <= FLOAT_TOLERANCE => None,
        Some(d) => Some((format!("{name}/{kind}"), format!("relative distance {d:.1e} to the gradient in double"))),
        None => Some((format!("{name}/{kind}"), said(kind).unwrap_or_else(|| "it was not run".into()))),
    });
    wrong.collect()
}

/// Everything that was computed, once for all tests.
struct Checked {
    tests: PathBuf,
    folder: PathBuf,
    /// Of the folder.
    _alone: fs::File,
    cases: Vec<Case>,
    /// By case and kind, why there is no gradient.
    errors: BTreeMap<String, BTreeMap<&'static str, String>>,
    found: BTreeMap<String, Found>,
}

/// None where there is no Python.
static CHECKED: LazyLock<Option<Checked>> = LazyLock::new(|| {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let scripts = tests.join("python/gradients");
    let python = python::environment("gradients", &scripts.join("requirements.txt"))?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gradient-cases");
    let _alone = alone("gradient-cases");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    let operators = tests.join("gradients/operators.txt");
    python::run(Command::new(&python).arg(scripts.join("cases.py")).arg(operators).arg(&folder));
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(folder.join("cases.json")).unwrap()).unwrap();
    let mut errors: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.unusable.is_none()) {
        for kind in KINDS {
            if let Err(error) = differentiate(&folder, case, kind) {
                errors.entry(case.case.clone()).or_default().insert(kind, error.to_string());
            }
        }
    }
    let found = differences(&python, &scripts.join("differences.py"), &folder);
    let found = found.into_iter().map(|f| (f.case.clone(), f)).collect();
    Some(Checked { tests, folder, _alone, cases, errors, found })
});

/// What is known of an operator's rule.
#[derive(Default)]
struct Row {
    double: usize,
    float: usize,
    excepted: usize,
    worst_double: f64,
    worst_float: f64,
}

#[test]
fn every_rule_agrees_with_finite_differences() {
    let Some(checked) = &*CHECKED else { return };
    let exceptions = exceptions(&checked.tests.join("gradients/exceptions.txt"));
    let none = BTreeMap::new();
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let (mut failed, mut needed) = (String::new(), BTreeSet::new());
    for case in &checked.cases {
        let found = checked.found.get(&case.case);
        let problems = problems(case, checked.errors.get(&case.case).unwrap_or(&none), found);
        let row = rows.entry(case.operator.as_deref().unwrap_or("(bodies of functions)")).or_default();
        let (excepted, unexpected): (Vec<_>, Vec<_>) =
            problems.into_iter().partition(|(name, _)| exceptions.contains_key(name));
        for (name, why) in &unexpected {
            writeln!(failed, "{name}: {why}").unwrap();
        }
        if excepted.is_empty() && unexpected.is_empty() {
            let found = found.unwrap();
            let error = found.error.unwrap();
            if found.precision.as_deref() == Some("double") {
                (row.double, row.worst_double) = (row.double + 1, row.worst_double.max(error));
            } else {
                (row.float, row.worst_float) = (row.float + 1, row.worst_float.max(error));
            }
        } else {
            row.excepted += 1;
        }
        needed.extend(excepted.into_iter().map(|(name, _)| name));
    }
    for (name, reason) in exceptions.iter().filter(|(name, _)| !needed.contains(*name)) {
        writeln!(failed, "{name}: is an exception ({reason}) that is not needed").unwrap();
    }
    let promised: BTreeSet<String> = words(&checked.tests.join("gradients/operators.txt")).into_iter().collect();
    for (domain, operator, rule) in registered() {
        let name = if domain.is_empty() { operator.to_owned() } else { format!("{domain}.{operator}") };
        // What is lowered to operators of its own is checked as what it was.
        if domain != gnp::whole::DOMAIN && !promised.contains(&name) && !matches!(rule, Rule::Zero) {
            writeln!(failed, "{name}: has a rule, and is not checked: list it in operators.txt").unwrap();
        }
    }
    for operator in &promised {
        if rows.get(operator.as_str()).is_none_or(|row| row.double + row.float == 0) {
            writeln!(failed, "{operator}: no case of it passes").unwrap();
        }
    }

    let table = table(&rows);
    let sum = |of: fn(&Row) -> usize| rows.values().map(of).sum::<usize>();
    let (double, float, excepted) = (sum(|r| r.double), sum(|r| r.float), sum(|r| r.excepted));
    let count = format!(
        "{} operators; {double} cases pass in double, {float} in float; {excepted} are excepted.\n",
        promised.len()
    );
    println!("{table}{count}");
    document("rules", &format!("{count}\n{table}"));
    assert!(failed.is_empty(), "{failed}");
}

/// The table of `docs/gradients.md`.
fn table(rows: &BTreeMap<&str, Row>) -> String {
    let mut table = String::from(
        "| Operator | Cases in double | Worst error | Cases in float | Worst error | Excepted |\n|---|---|---|---|---|---|\n",
    );
    let error = |count: usize, error: f64| if count == 0 { "–".to_owned() } else { format!("{error:.0e}") };
    for (operator, row) in rows {
        let (double, float) = (error(row.double, row.worst_double), error(row.float, row.worst_float));
        writeln!(table, "| {operator} | {} | {double} | {} | {float} | {} |", row.double, row.float, row.excepted)
            .unwrap();
    }
    table
}

/// What `ort_training.py` found.
#[derive(Deserialize)]
struct Compared {
    case: String,
    distance: Option<f64>,
    refused: Option<String>,
}

/// How ONNX Runtime training's gradients of an operator compare.
#[derive(Default)]
struct Comparison {
    equal: usize,
    different: usize,
    refused: usize,
}

/// Pythons that the last training packages of ONNX Runtime, 1.19.2, were built for.
const TRAINING_PYTHONS: [&str; 4] = ["3.8", "3.9", "3.10", "3.11"];
const TRAINING_TOLERANCE: f64 = 1e-5;

#[test]
fn gradients_equal_those_of_onnx_runtime_training() {
    let version = python::version().unwrap_or_default();
    let Some(checked) = CHECKED.as_ref().filter(|_| TRAINING_PYTHONS.contains(&version.as_str())) else {
        return crate::support::needs::tell(
            "python3 of a version from 3.8 to 3.11, for which the training runtime was published",
        );
    };
    let Checked { tests, folder, .. } = checked;
    let differences = exceptions(&tests.join("gradients/ort_training_differences.txt"));
    let requirements = tests.join("python/requirements.txt");
    let Some(python) = python::environment("python-app", &requirements) else { return };
    let mut command = Command::new(python);
    command.arg(tests.join("python/torch_stand_in.py")).arg(tests.join("python/gradients/ort_training.py"));
    command.arg(folder).arg(tests.join("gradients/ort_training_operators.txt"));
    let printed = python::run(&mut command);

    let operators: BTreeMap<&str, &str> =
        checked.cases.iter().filter_map(|c| Some((c.case.as_str(), c.operator.as_deref()?))).collect();
    let mut rows: BTreeMap<&str, Comparison> = BTreeMap::new();
    let mut failed = String::new();
    for line in printed.lines() {
        let compared: Compared = serde_json::from_str(line).unwrap();
        let (case, row) = (&compared.case, rows.entry(operators[compared.case.as_str()]).or_default());
        let known = differences.get(case);
        match compared.distance {
            Some(distance) if distance <= TRAINING_TOLERANCE => {
                row.equal += 1;
                if let Some(reason) = known {
                    writeln!(failed, "{case}: is a difference ({reason}) that is not there").unwrap();
                }
            }
            Some(distance) => {
                row.different += 1;
                if known.is_none() {
                    writeln!(failed, "{case}: relative distance {distance:.1e} to ONNX Runtime training").unwrap();
                }
            }
            None => {
                row.refused += 1;
                println!("{case}: {}", compared.refused.unwrap_or_default());
            }
        }
    }
    let mut table = String::from("| Operator | Equal | Different | Refused |\n|---|---|---|---|\n");
    for (operator, row) in &rows {
        writeln!(table, "| {operator} | {} | {} | {} |", row.equal, row.different, row.refused).unwrap();
    }
    let equal: usize = rows.values().map(|row| row.equal).sum();
    println!("{table}{equal} cases are equal");
    document("training", &table);
    assert!(failed.is_empty(), "{failed}");
    assert!(equal > 0);
}

/// Puts a table between its marks in the documentation, where that was asked for.
pub fn document(name: &str, table: &str) {
    // All tests write the file.
    static LOCK: Mutex<()> = Mutex::new(());
    let _lock = LOCK.lock().unwrap();
    if std::env::var_os("GNP_GRADIENT_TABLE").is_none_or(|value| value != "write") {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gradients.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name}: written by the test -->\n"), "<!-- end -->");
    let (before, rest) = text.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    fs::write(&path, format!("{before}{begin}\n{table}\n{end}{after}")).unwrap();
}
