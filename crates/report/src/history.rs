//! What `metrics.jsonl` says of a run.

use crate::{EpochReport, Event, StepReport};
use gnp_base::{Error, Result, files};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The events of a run so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Its steps.
    pub steps: Vec<StepReport>,
    /// The epochs that have ended.
    pub epochs: Vec<EpochReport>,
}

impl History {
    /// Reads the `metrics.jsonl` of a run's folder. A last line that was not finished, of a run that was killed, is
    /// passed over.
    ///
    /// # Errors
    /// Where there is none, a line is no event, or there is no step yet.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(crate::METRICS);
        let file = files::open(&path)
            .map_err(|error| Error::io("read the metrics", &path, &error).help("name the folder of a run"))?;
        let mut reader = BufReader::new(file);
        let (mut history, mut line, mut number) = (Self::default(), String::new(), 0);
        loop {
            line.clear();
            number += 1;
            reader.read_line(&mut line).map_err(|error| Error::io("read the metrics", &path, &error))?;
            if !line.ends_with('\n') {
                break;
            }
            match serde_json::from_str(&line) {
                Ok(Event::Step(report)) => history.steps.push(report),
                Ok(Event::Epoch(report)) => history.epochs.push(report),
                Err(error) => {
                    return Err(Error::format(format!("line {number} is not an event of a run: {error}"))
                        .in_file(&path)
                        .help("the file is written by gnp-run; a run with --force writes it anew"));
                }
            }
        }
        if history.steps.is_empty() {
            return Err(Error::input("the run has taken no step yet").in_file(&path));
        }
        Ok(history)
    }

    /// The last epoch, or the last step where none has ended.
    pub fn last(&self) -> EpochReport {
        self.epochs.last().cloned().unwrap_or_else(|| {
            let last = self.steps.last().cloned().unwrap_or_default();
            EpochReport { epoch: last.epoch, step: last.step, measures: last.measures, ..EpochReport::default() }
        })
    }

    /// The first of the epochs with the smallest test error, or test loss where errors are not known.
    pub fn best(&self) -> Option<&EpochReport> {
        let known = self.epochs.iter().filter_map(|epoch| Some((epoch, epoch.score()?)));
        known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(epoch, _)| epoch)
    }

    /// How many steps an epoch has; none before the first has ended.
    pub fn steps_an_epoch(&self) -> Option<f64> {
        let last = self.epochs.last()?;
        (last.step > 0 && last.epoch > 0).then(|| last.step as f64 / last.epoch as f64)
    }

    /// The duration of all training steps in seconds, and how much of it was spent waiting for data.
    pub fn seconds(&self) -> (f64, f64) {
        let sum = |value: fn(&StepReport) -> f64| self.steps.iter().map(value).sum();
        (sum(|step| step.seconds), sum(|step| step.data_seconds))
    }

    /// Training samples in a second, over the whole run.
    pub fn examples_per_second(&self) -> f64 {
        self.steps.iter().map(|step| step.examples_per_second * step.seconds).sum::<f64>() / self.seconds().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn epoch(epoch: u64, test_error: Option<f64>, test_loss: Option<f64>) -> EpochReport {
        EpochReport { epoch, step: 4 * epoch, test_error, test_loss, ..EpochReport::default() }
    }

    #[test]
    fn an_unfinished_line_is_passed_over_and_a_wrong_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let line = serde_json::to_string(&Event::Step(StepReport { step: 1, ..StepReport::default() })).unwrap();
        fs::write(&path, format!("{line}\n{}", &line[..20])).unwrap();
        assert_eq!(History::read(folder.path()).unwrap().steps.len(), 1);
        fs::write(&path, format!("{line}\nnot json\n")).unwrap();
        let error = History::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("metrics.jsonl: line 2 is not an event"), "{error}");
        fs::write(&path, "").unwrap();
        assert!(History::read(folder.path()).unwrap_err().to_string().contains("no step yet"));
        let error = History::read(&folder.path().join("missing")).unwrap_err();
        assert_eq!(error.help_text(), Some("name the folder of a run"));
    }

    #[test]
    fn the_best_epoch_is_the_first_with_the_smallest_error() {
        let epochs =
            vec![epoch(1, Some(0.2), Some(0.5)), epoch(2, Some(0.1), Some(0.6)), epoch(3, Some(0.1), Some(0.1))];
        let history = History { epochs, ..History::default() };
        assert_eq!(history.best().map(|epoch| epoch.epoch), Some(2));
        assert_eq!(history.steps_an_epoch(), Some(4.0));
        let by_loss =
            History { epochs: vec![epoch(1, None, Some(0.5)), epoch(2, None, Some(0.4))], ..History::default() };
        assert_eq!(by_loss.best().map(|epoch| epoch.epoch), Some(2));
        assert_eq!(History { epochs: vec![epoch(1, None, None)], ..History::default() }.best(), None);
    }

    #[test]
    fn throughput_is_that_of_all_steps() {
        let step = |seconds, examples_per_second| StepReport { seconds, examples_per_second, ..StepReport::default() };
        let history = History { steps: vec![step(1.0, 64.0), step(3.0, 32.0)], ..History::default() };
        assert_eq!(history.examples_per_second(), 40.0);
    }
}
