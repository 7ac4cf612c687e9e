//! A forward model in, a step model out.

use super::StepReport;
use crate::emit::step::{self, Parts, Renames};
use crate::objective::{Forward, Objective as _};
use crate::penalty::{self, Coefficient, Coefficients, Penalty, Warmup};
use crate::transform::{Optimizer, State, Training, pass};
use crate::weights::{self, Edit, Evidence, Reason, Record, Selection, Sharing, Verdict};
use gnp_base::choice::Choice;
use gnp_base::contract::{ALPHA, CONFIG_KEY, LABELS, LEARNING_RATE, R, SEED, STEP, VERSION_KEY, WARMUP_STEPS};
use gnp_base::limits::Limits;
use gnp_base::{Error, Result, files};
use gnp_gradient::autodiff;
use gnp_gradient::loss::{self, Appended, Ending, Wanted, find_ending};
use gnp_gradient::lowering::{self, Lowered};
use gnp_model::graph::{self, Builder, Dim, Fact, Graph, Value, ranges};
use gnp_model::normalise::{self, normalise};
use gnp_model::onnx::{self, Model, Watch, WriteOptions};
use gnp_model::opening::{self, Dims, Opened};
use gnp_model::shapes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The pass that the loss's nodes are for.
const LOSS_PASS: &str = "loss";

/// What to make of a forward model.
#[derive(Clone, Debug, Default)]
pub struct StepOptions {
    /// What the loss is.
    pub loss: Wanted,
    /// c of ½·c·Σ‖w‖² in the loss.
    pub l2: f32,
    /// Leave parameters of rank 1 and below out of it.
    pub l2_skip_vectors: bool,
    /// What trains.
    pub selection: Selection,
    /// Which weights are one.
    pub sharing: Sharing,
    /// How what trains differently from how it infers trains.
    pub lowering: lowering::Settings,
    /// The penalty; its r and α are the defaults of the inputs.
    pub penalty: Penalty,
    /// What of the penalty is warmed up.
    pub warmup: Warmup,
    /// For so many steps.
    pub warmup_steps: u32,
    /// From the gradient to the parameters.
    pub optimizer: Optimizer,
    /// What axes of the inputs are to be.
    pub dims: Dims,
    /// Other names for values of the model, in the step model and the evaluation model.
    pub renames: Renames,
    /// How large the step model may become.
    pub limits: Limits,
}

impl StepOptions {
    fn validate(&self) -> Result<()> {
        self.penalty.validate()?;
        self.optimizer.validate()?;
        if !(self.l2.is_finite() && self.l2 >= 0.0) {
            return Err(Error::input(format!(
                "the weight of l2 is {}; expected a finite number, zero or above",
                self.l2
            ))
            .help("leave --l2 out for none"));
        }
        if self.warmup != Warmup::None && self.warmup_steps == 0 {
            return Err(Error::input(
                "the warm-up of the penalty has no length; expected a number of steps above zero",
            )
            .help("give it with --gr-warmup-steps, or, to gnp-run, --gr-warmup-epochs"));
        }
        Ok(())
    }
}

/// Every choice made, as it stands in the metadata of a step model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepConfig {
    /// The forward model, by its file name.
    pub model: String,
    /// The loss; none where the model has its own.
    pub loss: Option<loss::Loss>,
    /// What axes of the inputs are to be.
    pub dims: Dims,
    /// The names of values that have others in the model's file, by those.
    #[serde(default, skip_serializing_if = "Renames::is_empty")]
    pub renames: Renames,
    /// The value that the loss is taken of, or that is the loss.
    pub logits: String,
    /// c of ½·c·Σ‖w‖² in the loss.
    pub l2: f32,
    /// How BatchNormalization, Dropout and random draws train.
    #[serde(flatten)]
    pub lowering: lowering::Settings,
    /// A BatchNormalization whose statistics are of one number a sample, where there is one: batches need two samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_samples: Option<String>,
    /// The penalty.
    #[serde(flatten)]
    pub penalty: Penalty,
    /// What of it is warmed up.
    pub warmup: Warmup,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// What was changed in the forward model before it was differentiated, so that its weights are those of the
    /// network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
}

impl StepConfig {
    /// The choices that stand in the metadata of a step model.
    ///
    /// # Errors
    /// Where there are none, or they are damaged.
    pub fn of(model: &Model) -> Result<Self> {
        let config = model.metadata(CONFIG_KEY).ok_or_else(|| format!("it lacks the metadata `{CONFIG_KEY}`"));
        config
            .and_then(|config| {
                serde_json::from_str(config).map_err(|e| format!("its metadata `{CONFIG_KEY}` are damaged: {e}"))
            })
            .map_err(|what| Error::input(what).in_file(model.path()).help("make the step model again with gnp-rewrite"))
    }
}

/// Makes a step model of a forward model that was read.
///
/// # Errors
/// Where the model is rewritten already, quantised, has no trainable parameter or an operator without a gradient rule;
/// where what `options` ask for does not fit it.
pub fn make_step(mut model: Model, options: &StepOptions) -> Result<(Model, StepReport)> {
    let path = model.path().to_owned();
    build(&mut model, options).map(|report| (model, report)).map_err(|e| e.in_file(&path))
}

fn build(model: &mut Model, options: &StepOptions) -> Result<StepReport> {
    options.validate()?;
    model.limits = options.limits;
    refuse_what_is_rewritten(model)?;
    let mut report = StepReport::new(model);
    graph::well_formed(&model.graph)?;
    let mut record = Record::of(model);
    let restored = weights::restore_sharing(model, record.as_mut(), &options.sharing)?;
    report.warnings = [restored.warnings, normalise(model)?.warnings].concat();
    refuse_what_is_quantised(model)?;
    let opened = opening::apply(model, &options.dims, options.loss.value())?;
    let facts = shapes::analyse(model, &BTreeMap::new())?;
    normalise::simplify(&mut model.graph, &facts);
    let mut graph = Graph::knowing(std::mem::take(&mut model.graph), facts)?.within(model.limits);
    graph.proto().input.iter().try_for_each(|input| require_axes(&graph, input.name()))?;
    let mut ranges = ranges(graph.proto(), graph.facts());

    let ending = find_ending(&graph, &options.loss);
    let evidence = Evidence {
        record: record.as_ref(),
        producer: model.header.producer_name(),
        folder: model.folder(),
        loss: if let Ok((Ending::Scalar(loss), _)) = &ending { Some(&**loss) } else { None },
    };
    let verdicts = weights::decide(&graph, &evidence, &options.selection)?;
    let (ending, loss) = ending?;
    if let Ending::Logits { value, .. } = &ending {
        require_axes(&graph, value)?;
    }
    let sizes = sizes(&graph, &opened, options);
    report.choices = [loss, what_trains(record.is_some(), &verdicts), restored.choices, sizes].concat();
    // What the exporter recorded tells merged weights from those that the network shares.
    if record.is_none() {
        report.choices.extend(weights::several_readers(&verdicts, &graph));
    }
    let candidates: Vec<Value> = verdicts.iter().filter(|v| v.trains).map(|v| v.name.as_str().into()).collect();
    graph.vary(&candidates);

    // The user has been told of everything by the names in the file; from here on values may have others.
    let renamed = step::make_way(&mut graph, &options.renames)?;
    let in_step = |value: &Value| renamed.get(&**value).map_or_else(|| value.clone(), |name| name.as_str().into());

    let is_frozen = |v: &&Verdict| matches!(v.reason, Reason::Flag(_)) && !v.trains;
    let frozen = verdicts.iter().filter(is_frozen).map(|v| in_step(&v.name.as_str().into())).collect();
    let lowered = lowering::lower(&mut graph, &options.lowering, &frozen)?;
    report.choices.extend(what_was_lowered(&lowered));
    let is_statistic = |value: &Value| lowered.state.iter().any(|pair| pair.state == *value);
    let candidates: Vec<_> = candidates.iter().map(in_step).filter(|value| !is_statistic(value)).collect();

    let b = Builder::new(&mut graph, LOSS_PASS);
    let mut returned_logits = None;
    let (loss, labels, tally, wanted, logits) = match &ending {
        Ending::Logits { value, loss } => {
            refuse_labels(&b.graph())?;
            let in_step = in_step(value);
            let fact = Fact::clone(&b.fact(&in_step));
            let Appended { loss: scalar, labels, range, tally } = loss.append(&b, &in_step)?;
            ranges.extend(range.map(|range| (LABELS.to_owned(), vec![range])));
            returned_logits = loss.is_of_a_table(&fact).then_some((in_step, fact));
            (scalar, Some(labels), tally, Some(loss.clone()), value.clone())
        }
        Ending::Scalar(value) => (scalar(&b, &in_step(value)), None, None, None, value.clone()),
    };
    let loss = loss::append_l2(&b, &loss, &candidates, options.l2, options.l2_skip_vectors);
    report.warnings.extend(where_gradients_end(&graph, &loss, &candidates));
    let objective = Forward::differentiate(&mut graph, &loss, &candidates)?;
    let parameters = objective.parameters().to_vec();
    if parameters.is_empty() {
        return Err(Error::input(format!("the loss `{logits}` depends on no trainable parameter")).help(
            "every way from one to it leads through whole numbers, or operators without slope such as ArgMax and Round; \
             choose another value with --logits, or other parameters with --train",
        ));
    }
    let original: BTreeMap<&str, &str> = renamed.iter().map(|(old, new)| (new.as_str(), old.as_str())).collect();
    let in_file = |value: &Value| original.get(&**value).map_or_else(|| value.to_string(), |&name| name.to_owned());
    let names: Vec<String> = parameters.iter().map(in_file).collect();
    report.judge(verdicts, &names, &restored.lost);
    let factors = options.optimizer.factors(&names.iter().map(String::as_str).collect::<Vec<_>>())?;

    let mut training = Training::new(Builder::new(&mut graph, pass::UPDATE), &parameters);
    training.hyperparameter(LEARNING_RATE, options.optimizer.default_learning_rate());
    let coefficients = coefficients(&mut training, options);
    if lowered.draws {
        training.steps_done();
    }
    let penalised = penalty::apply(training.builder.graph_mut(), &objective, &options.penalty, &coefficients)?;
    for (parameter, gradient) in parameters.iter().zip(&penalised.gradients) {
        training.builder.declare(gradient, training.builder.fact(parameter));
    }
    let updated = options.optimizer.update(&mut training, penalised.gradients, &factors);
    let (hyperparameters, slots, step) = training.finish();
    lowering::expand(&mut graph)?;
    let slots = slots.into_iter().map(|slot| {
        let fact = graph.facts().get(&slot.name).cloned();
        fact.map(|fact| (slot, fact)).ok_or_else(|| Error::internal("a slot without a shape"))
    });
    let state = |(name, next): (&Value, Value)| State { name: name.clone(), next };
    let parts = Parts {
        labels,
        loss: objective.here().loss.clone(),
        metrics: penalised.metrics,
        tally,
        logits: returned_logits,
        hyperparameters,
        seeded: lowered.draws,
        parameters: parameters.iter().zip(updated).map(state).collect(),
        statistics: lowered.state.into_iter().map(|pair| State { name: pair.state, next: pair.next }).collect(),
        slots: slots.collect::<Result<_>>()?,
        step,
        ranges,
    };
    let config = StepConfig {
        model: model.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
        loss: wanted,
        dims: options.dims.clone(),
        renames: options.renames.clone(),
        logits: logits.to_string(),
        l2: options.l2,
        lowering: options.lowering,
        over_samples: lowered.over_samples,
        penalty: options.penalty,
        warmup: options.warmup,
        optimizer: options.optimizer.clone(),
        edits: restored.edits,
    };
    step::assemble(model, graph, &parts, &config)?;
    report.config = config;
    report.hyperparameters = parts.hyperparameters;
    report.finish(model);
    Ok(report)
}

/// By what it was decided, where not by the user alone.
fn what_trains(is_recorded: bool, verdicts: &[Verdict]) -> Vec<Choice> {
    if verdicts.iter().all(|verdict| matches!(verdict.reason, Reason::Flag(_))) {
        return vec![];
    }
    let by = if is_recorded { "what the exporter recorded" } else { "places, elements and names" };
    vec![Choice::new(format!("what trains follows from {by}"), "--train, --also-train, --freeze")]
}

/// What sizes the step model takes: axes that were opened, batches of one size, and what may differ from step to step.
fn sizes(graph: &Graph, opened: &[Opened], options: &StepOptions) -> Vec<Choice> {
    let opened = opened.iter().map(|opened| Choice::new(opened.to_string(), "--dim"));
    let fixed = if options.dims.is_empty() { fixed_batches(graph) } else { vec![] };
    opened.chain(fixed).chain(open_sizes(graph)).collect()
}

/// The inputs that take batches of one size only.
fn fixed_batches(graph: &Graph) -> Vec<Choice> {
    let fixed = graph.proto().input.iter().filter_map(|input| {
        let size = graph.facts().get(input.name())?.dim(0)?.known()?;
        let open = format!("--dim '{}[0]=batch' opens it", input.name());
        Some(Choice::new(
            format!("`{}` takes batches of {size} only, as the model has it ({open})", input.name()),
            "--dim",
        ))
    });
    fixed.collect()
}

/// The sizes of the inputs that may differ from step to step.
fn open_sizes(graph: &Graph) -> Vec<Choice> {
    let shapes = graph.proto().input.iter().filter_map(|input| graph.facts().get(input.name())?.shape.as_ref());
    let symbols: BTreeSet<String> = shapes
        .flatten()
        .filter_map(|dim| if let Dim::Symbol(symbol) = dim { Some(format!("`{symbol}`")) } else { None })
        .collect();
    if symbols.is_empty() {
        return vec![];
    }
    let symbols = symbols.into_iter().collect::<Vec<_>>().join(", ");
    vec![Choice::new(format!("any size of {symbols}, as the model has it"), "--dim")]
}

fn what_was_lowered(lowered: &Lowered) -> Vec<Choice> {
    let statistics = || {
        let also = if lowered.follows_frozen { ", also where its weights are frozen" } else { "" };
        Choice::new(format!("BatchNormalization trains, with the statistics of the batch{also}"), "--batch-norm")
    };
    let draws =
        || Choice::new(format!("what is drawn at random follows from `{SEED}` and `{STEP}`"), "--random, --dropout");
    let passed = || {
        let first = lowered.passed.first().map_or("", String::as_str);
        let others =
            if lowered.passed.len() > 1 { format!(" and {} more", lowered.passed.len() - 1) } else { String::new() };
        Choice::new(format!("gradients pass straight through `{first}`{others}"), "--straight-through")
    };
    let statistics = (!lowered.state.is_empty()).then(statistics);
    let passed = (!lowered.passed.is_empty()).then(passed);
    statistics.into_iter().chain(lowered.draws.then(draws)).chain(passed).collect()
}

/// What a user may not know who trained with an estimator that the export lost.
fn where_gradients_end(graph: &Graph, loss: &Value, wrt: &[Value]) -> Option<String> {
    let ends = autodiff::ends(graph, loss, wrt);
    let first = ends.first()?;
    let others = if ends.len() > 1 { format!(" and at {} more nodes", ends.len() - 1) } else { String::new() };
    Some(format!(
        "the gradient ends at `{}` ({}){others}: the derivative of a step is 0, and nothing trains through it. Where it is one of a \
         straight-through estimator: --straight-through all",
        first.label(),
        first.op_type()
    ))
}

/// r and α as inputs, warmed up where that is wanted.
fn coefficients(training: &mut Training<'_>, options: &StepOptions) -> Coefficients {
    let (r, alpha) =
        (training.hyperparameter(R, options.penalty.r), training.hyperparameter(ALPHA, options.penalty.alpha));
    let (r, alpha) = if options.warmup == Warmup::None {
        (r, alpha)
    } else {
        let steps = training.hyperparameter(WARMUP_STEPS, options.warmup_steps as f32);
        let done = training.steps_done();
        options.warmup.append(&training.builder, &r, &alpha, &done, &steps)
    };
    Coefficients { r: Coefficient::Value(r), alpha: Coefficient::Value(alpha), skip: true }
}

/// A loss of one element as a scalar.
fn scalar(b: &Builder<'_>, loss: &Value) -> Value {
    if b.fact(loss).rank() == Some(0) { loss.clone() } else { b.reduce_all("ReduceSum", loss) }
}

/// Every input of a step model declares its axes, the labels too, as the standard asks for.
fn require_axes(graph: &Graph, value: &str) -> Result<()> {
    if graph.facts().get(value).is_some_and(|fact| fact.shape.is_some()) {
        return Ok(());
    }
    let proto = graph.proto();
    let is_declared = proto.input.iter().chain(&proto.output).any(|info| info.name() == value);
    let info = format!("onnx.helper.make_tensor_value_info(\"{value}\", onnx.TensorProto.FLOAT, [\"N\", 10])");
    let declare = if is_declared {
        format!(
            "info = next(i for i in [*model.graph.input, *model.graph.output] if i.name == \"{value}\")\n\
             info.CopyFrom({info})"
        )
    } else {
        format!("model.graph.value_info.append({info})")
    };
    Err(Error::input(format!("the number of axes of `{value}` is not known")).help(format!(
        "export the model with its shape, or declare it in Python (of N samples and 10 numbers, say):\n{declare}"
    )))
}

fn refuse_labels(graph: &Graph) -> Result<()> {
    if !graph.proto().input.iter().any(|input| input.name() == LABELS) {
        return Ok(());
    }
    Err(Error::input(format!(
        "the model has an input `{LABELS}`, and a loss that is put on it needs an input of this name"
    ))
    .help(format!(
        "if the model computes its own loss, name it with --loss-output; else give the input another name: {}",
        step::rename_flag(LABELS)
    )))
}

fn refuse_what_is_rewritten(model: &Model) -> Result<()> {
    if let Some(version) = model.metadata(VERSION_KEY) {
        return Err(Error::input(format!("the model is rewritten already (by gnp {version})"))
            .help("rewrite the original model instead"));
    }
    Ok(())
}

/// Weights that are dequantised are floats by now; what is left rounds what depends on data.
fn refuse_what_is_quantised(model: &Model) -> Result<()> {
    let quantised = |op: &str| op.contains("QuantizeLinear") || op.starts_with("QLinear") || op.ends_with("Integer");
    if let Some(node) = model.graph.node.iter().find(|n| quantised(n.op_type())) {
        return Err(Error::input("the model is quantised: rounding has no gradient")
            .at_node(node.label(), &node.operator())
            .help("train the model before it was quantised, then quantise it again"));
    }
    Ok(())
}

/// Makes a step model of the forward model `model`, and writes it to `output`, or, in a dry run, does all but that.
/// `watch` is told of external data that is copied.
///
/// # Errors
/// As [`make_step`]; where the output is the model itself or its data, exists (without `force`) or cannot be written.
/// What existed is then as it was.
pub fn rewrite_forward(
    model: Model,
    output: &Path,
    options: &StepOptions,
    write: &WriteOptions,
    dry_run: bool,
    watch: Watch<'_>,
) -> Result<StepReport> {
    let input = model.path().to_owned();
    let data = onnx::external_files(&model)?;
    let (step, mut report) = make_step(model, options)?;
    report.output =
        if output.is_dir() { output.join(input.file_name().unwrap_or_default()) } else { output.to_owned() };
    files::ensure_no_input(&report.output, data.iter().chain([&input]))?;
    if dry_run {
        files::ensure_free(&report.output, write.force)?;
        report.external = onnx::data_beside(&step, &report.output, write.external_data)?;
    } else {
        let written = onnx::write_watched(step, &report.output, write, watch)?;
        report.bytes = Some(written.bytes);
        report.external = written.external;
    }
    Ok(report)
}
