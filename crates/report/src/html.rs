//! A run, or several, as one page of HTML that needs nothing else.

use super::chart::{COLOURS, Chart, STYLE};
use super::history::History;
use super::machine::Machine;
use super::number::{duration, number, percent};
use super::numbers::numbers;
use super::panels;
use crate::EpochReport;
use gnp_base::{Error, Result, files};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The rows of the table of epochs, at most.
const MOST_ROWS: usize = 200;

/// What a report says that is not in the run's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The model's name: the title.
    pub model: String,
    /// The engine, with its version.
    pub engine: String,
    /// How it was trained: "GNP (r = 0.1, α = 0.8), momentum".
    pub method: String,
    /// What is called an error, where anything is: "the fraction of the labels that …".
    pub error: Option<String>,
    /// The command that trains it again, where there is one.
    pub command: Option<String>,
}

/// Writes `report.html` into a run's folder, from its `history` and the `config.toml` there, where there is one;
/// returns its path. The machine that it names is the one that this program runs on.
///
/// Curves of more than 400 points are drawn as the means of 400 bins of equal counts within the bands of their
/// extremes.
///
/// # Errors
/// Where the configuration cannot be read, or the report cannot be written.
pub fn write(folder: &Path, run: &History, about: &About) -> Result<PathBuf> {
    let config = config(folder)?;
    let charts = panels::of_run(run);
    let body = html! {
        header {
            h1 { (about.model) }
            p.under { (about.method) }
        }
        (facts(run))
        div.side {
            section {
                h2 { "Result" }
                (result(run))
                @if let Some(error) = &about.error { p.under { "The error is " (error) "." } }
            }
            section {
                h2 { "Machine" }
                (machine(&Machine::here(), &about.engine))
                h2 { "To reproduce" }
                @if let Some(command) = &about.command { pre.wrapped { (command) } }
                p.under { "On one machine, runs with the same data, seed, engine and version of gnp are equal." }
            }
        }
        h2 { "Curves" }
        p.under {
            "Thick lines are epochs: means over their training steps, or evaluations after them. Thin lines are training steps; where there are "
            "too many to draw, means of neighbouring ones, within the band of their extremes."
        }
        (curves(&charts))
        (epochs(run))
        @if let Some(config) = config { h2 { "Configuration" } pre { (config) } }
    };
    let file = folder.join(crate::REPORT);
    save(&file, page(&about.model, &body))?;
    Ok(file)
}

/// Writes a report of the runs in `folders` side by side to `output`: one colour a run, which is named after its
/// folder.
///
/// # Errors
/// Where `folders` is empty, their metrics or configurations cannot be read or hold no step, or the report cannot be
/// written.
pub fn compare(folders: &[PathBuf], output: &Path) -> Result<()> {
    if folders.is_empty() {
        return Err(Error::input("there are no runs to compare").help("name the folders of runs"));
    }
    let names = names(folders);
    let runs = folders.iter().zip(names).map(|(folder, name)| Ok((name, History::read(folder)?)));
    let runs = runs.collect::<Result<Vec<_>>>()?;
    let configs = folders.iter().map(|folder| config(folder)).collect::<Result<Vec<_>>>()?;
    let title = format!("{} runs", runs.len());
    let body = html! {
        header {
            h1 { (title) }
            p.under { "gnp " (env!("CARGO_PKG_VERSION")) }
        }
        h2 { "Result" }
        (results(&runs))
        h2 { "Curves" }
        (curves(&panels::of_runs(&runs)))
        @if configs.iter().any(Option::is_some) { h2 { "Configuration" } }
        @for ((name, _), config) in runs.iter().zip(&configs) {
            @if let Some(config) = config { details { summary { (name) } pre { (config) } } }
        }
    };
    save(output, page(&title, &body))
}

/// A page that may load nothing: its policy forbids what its text does not need.
fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(include_str!("report.css"))) (PreEscaped(STYLE)) }
            }
            body {
                (body)
                div #hover {}
                script { (PreEscaped(include_str!("hover.js"))) }
            }
        }
    };
    page.into_string()
}

fn save(file: &Path, page: String) -> Result<()> {
    files::replace(file, true, page, "write the report")
}

fn config(folder: &Path) -> Result<Option<String>> {
    let file = folder.join(crate::CONFIG);
    match files::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read the configuration", &file, &error)),
    }
}

/// The folders' own names where they are all different, otherwise what their paths do not have in common.
fn names(folders: &[PathBuf]) -> Vec<String> {
    let own: Vec<_> = folders.iter().filter_map(|folder| folder.file_name()).collect();
    if own.len() == folders.len() && own.iter().collect::<HashSet<_>>().len() == own.len() {
        return own.into_iter().map(|name| name.to_string_lossy().into_owned()).collect();
    }
    let parts: Vec<Vec<_>> = folders.iter().map(|folder| folder.components().collect()).collect();
    let same = |depth: &usize| parts.iter().all(|path| path.len() > depth + 1 && path[*depth] == parts[0][*depth]);
    let common = (0..).take_while(same).count();
    parts.into_iter().map(|path| path[common..].iter().collect::<PathBuf>().display().to_string()).collect()
}

fn facts(run: &History) -> Markup {
    let last = run.last();
    let (seconds, waiting) = run.seconds();
    let best = run.best().and_then(|best| Some((percent(best.test_error?), best.epoch)));
    html! {
        dl.facts {
            @if let Some((error, epoch)) = best {
                (fact("Best test error", &error, &format!("epoch {epoch}")))
            }
            @if let Some(norm) = last.measures.grad_norm {
                (fact("Gradient norm", &number(norm.into()), "last epoch"))
            }
            (fact("Epochs", &run.epochs.len().to_string(), &format!("{} steps", number(last.step as f64))))
            (fact("Training time", &duration(seconds), &format!("{:.0} % waiting for data", 100.0 * waiting / seconds)))
            (fact("Throughput", &number(run.examples_per_second().round()), "samples/s"))
        }
    }
}

fn fact(name: &str, value: &str, more: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) span.more { (more) } } } }
}

/// The last epoch beside the best.
fn result(run: &History) -> Markup {
    let last = run.last();
    let columns: Vec<(String, &EpochReport)> = match run.best() {
        _ if run.epochs.is_empty() => vec![(format!("step {}, no epoch has ended", last.step), &last)],
        None => vec![(format!("last (epoch {})", last.epoch), &last)],
        Some(best) => {
            vec![(format!("last (epoch {})", last.epoch), &last), (format!("best (epoch {})", best.epoch), best)]
        }
    };
    html! {
        div.scroll { table {
            thead { tr { th {} @for (head, _) in &columns { th scope="col" { (head) } } } }
            tbody {
                @for number in numbers() {
                    @if columns.iter().any(|(_, epoch)| number.of(epoch).is_some()) {
                        tr { th scope="row" { (number.name) } @for (_, epoch) in &columns { td { (number.of(epoch).unwrap_or_default()) } } }
                    }
                }
            }
        } }
        p.under {
            "Training numbers are means over an epoch’s samples, each at the parameters of its step. Best is the epoch with the smallest "
            "test error, or test loss where errors are not known."
        }
    }
}

/// A row a run.
fn results(runs: &[(String, History)]) -> Markup {
    let lasts: Vec<_> = runs.iter().map(|(_, run)| run.last()).collect();
    let all = numbers().into_iter();
    let known: Vec<_> = all.filter(|number| lasts.iter().any(|last| number.of(last).is_some())).collect();
    let best = |run: &History| match run.best().and_then(|best| Some((best.test_error?, best.epoch))) {
        Some((error, epoch)) => format!("{} (epoch {epoch})", percent(error)),
        None => String::new(),
    };
    html! {
        div.scroll { table {
            thead { tr {
                th {} th scope="col" { "best test error" }
                @for known in &known { th scope="col" { (known.name) } }
                th scope="col" { "epochs" } th scope="col" { "steps" } th scope="col" { "time" }
            } }
            tbody {
                @for (index, ((name, run), last)) in runs.iter().zip(&lasts).enumerate() {
                    tr {
                        th scope="row" { span.chart { span class=(swatch(index)) {} } (name) }
                        td { (best(run)) }
                        @for known in &known { td { (known.of(last).unwrap_or_default()) } }
                        td { (run.epochs.len()) } td { (number(last.step as f64)) } td { (duration(run.seconds().0)) }
                    }
                }
            }
        } }
    }
}

fn swatch(colour: usize) -> String {
    format!("swatch c{}{}", colour % COLOURS, if colour >= COLOURS { " dashed" } else { "" })
}

fn curves(charts: &[Chart]) -> Markup {
    html! { div.charts { @for chart in charts { figure { (chart.svg()) } } } }
}

fn epochs(run: &History) -> Markup {
    let stride = run.epochs.len().div_ceil(MOST_ROWS).max(1);
    let rows: Vec<_> = run.epochs.iter().rev().step_by(stride).collect();
    let all = numbers().into_iter();
    let known: Vec<_> = all.filter(|number| rows.iter().any(|epoch| number.of(epoch).is_some())).collect();
    html! {
        @if !rows.is_empty() {
            h2 { "Epochs" }
            details {
                summary { @if stride == 1 { "All of them" } @else { "One in " (stride) } ", as numbers" }
                div.scroll { table {
                    thead { tr { th scope="col" { "epoch" } @for known in &known { th scope="col" { (known.name) } } } }
                    tbody {
                        @for epoch in rows.iter().rev() {
                            tr { td { (epoch.epoch) } @for known in &known { td { (known.of(epoch).unwrap_or_default()) } } }
                        }
                    }
                } }
            }
        }
    }
}

fn machine(machine: &Machine, engine: &str) -> Markup {
    html! {
        dl.machine {
            dt { "processor" } dd { (machine.cpu) ", " (machine.cores) @if machine.cores == 1 { " core" } @else { " cores" } }
            dt { "system" } dd { (machine.system) }
            dt { "engine" } dd { (engine) }
            dt { "gnp" } dd { (env!("CARGO_PKG_VERSION")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, MEASURES, Measures, StepReport};
    use std::fmt::Write as _;
    use std::fs;

    /// A folder with a run of `epochs` epochs of `steps` steps.
    fn run(folder: &Path, epochs: u64, steps: u64) {
        fs::create_dir_all(folder).unwrap();
        let mut lines = String::new();
        let mut log = |event: &Event| writeln!(lines, "{}", serde_json::to_string(event).unwrap()).unwrap();
        for step in 1..=epochs * steps {
            let noise = (step * 7919 % 1009) as f32 / 1009.0;
            let mut measures = Measures::default();
            MEASURES.iter().for_each(|measure| measure.set(&mut measures, Some(noise)));
            measures.loss = 1.0 / step as f32 + noise;
            measures.loss_perturbed = Some(1.5);
            measures.mixed_grad_norm = Some(2.0 * noise);
            (measures.learning_rate, measures.r, measures.alpha) = (0.1, Some(0.05), Some(0.5));
            let (epoch, seconds) = (step.div_ceil(steps), 0.01);
            log(&Event::Step(StepReport { epoch, step, measures, seconds, ..StepReport::default() }));
            if step % steps == 0 {
                let test_error = Some(0.5 / epoch as f64);
                log(&Event::Epoch(EpochReport { epoch, step, measures, test_error, ..EpochReport::default() }));
            }
        }
        fs::write(folder.join("metrics.jsonl"), lines).unwrap();
    }

    #[test]
    fn a_report_says_what_the_run_was() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), 4, 3);
        fs::write(folder.path().join("config.toml"), "model = \"<m>.onnx\"\n").unwrap();
        let about = About {
            model: "<script>alert(1)</script>".into(),
            engine: "tract & co".into(),
            method: "GNP (r < 1)".into(),
            error: Some("the fraction < 1".into()),
            command: Some("gnp-run \"a b\" > log".into()),
        };
        let file = write(folder.path(), &History::read(folder.path()).unwrap(), &about).unwrap();
        let text = fs::read_to_string(file).unwrap();
        for part in [
            "<h1>&lt;script&gt;alert(1)&lt;/script&gt;</h1>",
            "tract &amp; co",
            "GNP (r &lt; 1)",
            "The error is the fraction &lt; 1.",
            "model = &quot;&lt;m&gt;.onnx&quot;",
            "gnp-run &quot;a b&quot; &gt; log",
            "12.50 %",
            "best (epoch 4)",
            "Gradient norm",
            env!("CARGO_PKG_VERSION"),
        ] {
            assert!(text.contains(part), "`{part}` is not in the report");
        }
        assert_eq!(text.matches("<svg").count(), 9);
        assert_eq!(text.matches("<script>").count(), 1);
        assert!(!text.contains("NaN") && !text.contains("src="));
    }

    #[test]
    fn a_report_of_a_long_run_is_small() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), 1000, 50);
        let file = write(folder.path(), &History::read(folder.path()).unwrap(), &About::default()).unwrap();
        let size = fs::metadata(file).unwrap().len();
        assert!(size < 1_000_000, "{size} bytes");
    }

    #[test]
    fn runs_are_compared_by_the_names_of_their_folders() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ["a/x", "b/y", "b/x"].map(|name| folder.path().join(name));
        folders.iter().for_each(|folder| run(folder, 2, 3));
        let output = folder.path().join("all.html");
        compare(&folders[..2], &output).unwrap();
        let text = fs::read_to_string(&output).unwrap();
        assert!(text.contains("2 runs") && text.contains("data-name=\"x\"") && text.contains("data-name=\"y\""));
        compare(&folders, &output).unwrap();
        let text = fs::read_to_string(&output).unwrap();
        assert!(["a/x", "b/y", "b/x"].iter().all(|name| text.contains(&format!("data-name=\"{name}\""))), "{text}");
        assert!(compare(&[], &output).is_err());
        assert!(compare(&[folder.path().join("none")], &output).is_err());
    }
}
