//! ONNX Runtime's record of what it computed in each run, and what it says of the operators.

use super::session::Session;
use super::session_options::SessionOptions;
use crate::profile::{OperatorTime, Profile};
use foldhash::HashMap;
use gnp_base::contract::functions::{DOMAIN, kind_of};
use gnp_base::{Error, Result};
use gnp_kernels::ort::{Target, has};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::{fs, iter};
use tempfile::TempDir;

/// Runs that do not count: the first ones ask for memory.
const WARM_UP: usize = 3;
/// Runs that count, at most: the record has some hundred bytes for each node of each run.
const RUNS: usize = 20;

/// What records the runs of a session until there are enough.
pub(super) struct Profiler {
    folder: TempDir,
    runs: usize,
    /// The record, from when it is closed.
    trace: Option<PathBuf>,
}

impl Profiler {
    /// A record of the session that is made with `options` next.
    pub(super) fn begin(options: &SessionOptions) -> Result<Self> {
        let folder =
            TempDir::new().map_err(|e| Error::io("make a folder for the profile", std::env::temp_dir(), &e))?;
        options.profile_to(&folder.path().join("profile"))?;
        Ok(Self { folder, runs: 0, trace: None })
    }

    /// `session` has run once more.
    pub(super) fn has_run(&mut self, session: &Session) -> Result<()> {
        self.runs += 1;
        if self.runs == WARM_UP + RUNS { self.end(session) } else { Ok(()) }
    }

    fn end(&mut self, session: &Session) -> Result<()> {
        if self.trace.is_none() {
            self.trace = Some(self.folder.path().join(session.end_profile()?));
        }
        Ok(())
    }

    /// What was recorded.
    pub(super) fn profile(&mut self, session: &Session) -> Result<Profile> {
        self.end(session)?;
        let trace = self.trace.clone().ok_or_else(|| Error::internal("a record has no end"))?;
        read(&trace, WARM_UP.min(self.runs.saturating_sub(1)))
    }
}

/// Something that took time, from `ts` on, in microseconds.
#[derive(Deserialize)]
struct Event {
    cat: String,
    name: String,
    ts: i64,
    dur: i64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    op_name: String,
}

/// The nodes of these are there by themselves, too.
const WITH_BODIES: [&str; 3] = ["If", "Loop", "Scan"];

/// The profile in the record `trace`, without its first runs.
fn read(trace: &Path, first: usize) -> Result<Profile> {
    let text = fs::read(trace).map_err(|e| Error::io("read ONNX Runtime's profile", trace, &e))?;
    let events: Vec<Event> = serde_json::from_slice(&text)
        .map_err(|e| Error::engine(format!("ONNX Runtime's profile is not what it was: {e}")).in_file(trace))?;
    let mut runs: Vec<&Event> =
        events.iter().filter(|event| event.cat == "Session" && event.name == "model_run").collect();
    runs.sort_by_key(|run| run.ts);
    let (Some(begin), Some(last)) = (runs.get(first), runs.last()) else {
        return Err(Error::engine("ONNX Runtime's profile has no whole step").help("take a few more steps"));
    };
    let (steps, range) = (runs.len() - first, begin.ts..=last.ts + last.dur);
    let mut operators: HashMap<&str, (usize, i64)> = HashMap::default();
    let nodes = events.iter().filter(|event| event.cat == "Node" && event.name.ends_with("_kernel_time"));
    for node in nodes.filter(|node| range.contains(&node.ts)) {
        let name = node.args.op_name.as_str();
        if !WITH_BODIES.contains(&name) {
            let (count, time) = operators.entry(if has(Target::Cpu, name) { kind_of(name) } else { name }).or_default();
            (*count, *time) = (*count + 1, *time + node.dur);
        }
    }
    let (each, seconds) = (1.0 / steps as f64, |microseconds: i64| microseconds as f64 / 1e6);
    let time = |(name, (count, time)): (&str, (usize, i64))| OperatorTime {
        operator: iter::once(DOMAIN).filter(|_| has(Target::Cpu, name)).chain([name]).collect::<Vec<_>>().join("."),
        nodes: count as f64 * each,
        seconds: seconds(time) * each,
    };
    let mut operators: Vec<OperatorTime> = operators.into_iter().map(time).collect();
    operators.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| a.operator.cmp(&b.operator)));
    let all = runs[first..].iter().map(|run| run.dur).sum();
    Ok(Profile { steps, seconds: seconds(all) * each, operators, trace: trace.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_whole_runs_behind_the_first_count() {
        let node = |name: &str, operator: &str, ts: i64, dur: i64| {
            format!(
                r#"{{"cat":"Node","name":"{name}_kernel_time","ts":{ts},"dur":{dur},"ph":"X","args":{{"op_name":"{operator}","node_index":"1"}}}}"#
            )
        };
        let run =
            |ts: i64, dur: i64| format!(r#"{{"cat":"Session","name":"model_run","ts":{ts},"dur":{dur},"args":{{}}}}"#);
        let events = [
            r#"{"cat":"Session","name":"model_loading_array","ts":0,"dur":9,"args":{}}"#.to_owned(),
            node("a", "Conv", 10, 500),
            run(5, 900),
            node("a", "Conv", 1000, 30),
            node("b", "Elementwise_3", 1040, 20),
            node("c", "Elementwise", 1070, 4),
            node("if", "If", 1065, 25),
            run(995, 105),
            node("a", "Conv", 2000, 50),
            run(1995, 65),
            node("a", "Conv", 3000, 7),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, format!("[{}]", events.join(","))).unwrap();
        let profile = read(file.path(), 1).unwrap();
        assert_eq!((profile.steps, profile.nodes()), (2, 2.0));
        assert!((profile.seconds - 85e-6).abs() < 1e-12 && (profile.between() - 33e-6).abs() < 1e-12, "{profile:?}");
        let told: Vec<_> = profile.operators.iter().map(|o| (o.operator.as_str(), o.nodes)).collect();
        assert_eq!(told, [("Conv", 1.0), ("gnp.Elementwise", 1.0)]);
        assert!((profile.operators[1].seconds - 12e-6).abs() < 1e-12);
        assert!(read(file.path(), 3).unwrap_err().to_string().contains("no whole step"));
    }
}
