//! `gnp-rewrite` on forward models: the step model's inputs, outputs and metadata, and what is said of it.
use crate::support::command::{assert_says, contents, gnp_rewrite, refusal};
use crate::support::forward::{append, classifier, empty, graph, info, network, node, perceptron, weight, with, write};
use gnp::engine::StepModel;
use gnp::graph::CONCAT_INPUTS;
use gnp::loss::LossKind;
use gnp::onnx::proto::{AttributeProto, ModelProto, NodeProto, ValueInfoProto};
use gnp::onnx::{self, DataType};
use gnp::rewrite::{StepOptions, make_step};
use gnp::tensor::Tensor;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A folder with `model.onnx` in it.
fn folder(model: &ModelProto) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(model, &folder.path().join("model.onnx"));
    folder
}

/// Runs `gnp-rewrite model.onnx -o step.onnx ARGUMENTS` in `folder` and returns what it prints.
#[track_caller]
fn rewrite(folder: &TempDir, arguments: &[&str]) -> String {
    let mut command = gnp_rewrite();
    let done = command.current_dir(folder).args(["model.onnx", "-o", "step.onnx"]).args(arguments).assert().success();
    assert!(done.get_output().stderr.is_empty());
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

/// The step model that [`rewrite`] wrote.
fn step(folder: &TempDir) -> onnx::Model {
    onnx::read(folder.path().join("step.onnx")).unwrap()
}

fn names(values: &[ValueInfoProto]) -> Vec<&str> {
    values.iter().map(|value| value.name()).collect()
}

#[test]
fn inputs_and_outputs_are_in_the_order_of_the_contract() {
    let folder = folder(&network());
    rewrite(&folder, &["--optimizer", "adamw", "--gr-warmup", "r", "--gr-warmup-steps", "5"]);
    let step = step(&folder);
    let parameters = ["conv.weight", "conv.bias", "bn.scale", "bn.bias", "fc.weight", "fc.bias"].map(str::to_owned);
    let statistics = ["bn.mean", "bn.var"].map(str::to_owned);
    let input = names(&step.graph.input);
    let first_state = input.iter().position(|&name| name == "conv.weight").unwrap();
    assert_eq!(input[..5], ["image", "labels", "lr", "gnp.r", "gnp.alpha"]);
    assert_eq!(
        input[5..first_state],
        ["gnp.warmup_steps", "gnp.beta1", "gnp.beta2", "gnp.epsilon", "gnp.weight_decay", "gnp.seed"]
    );
    let state: Vec<String> = input[first_state..].iter().map(|&name| name.to_owned()).collect();
    assert_eq!(state[..8], [&parameters[..], &statistics].concat());
    let (slots, counter) = state[8..].split_at(state.len() - 9);
    assert_eq!(slots.len(), 2 * parameters.len());
    assert!(slots.iter().all(|slot| parameters.iter().any(|p| slot.starts_with(&format!("{p}.")))), "{slots:?}");
    assert_eq!(counter, ["step"]);

    let next: Vec<String> = state.iter().map(|name| format!("{name}.next")).collect();
    let output = names(&step.graph.output);
    let norms = ["gnp.grad_norm", "gnp.loss_perturbed", "gnp.mixed_grad_norm", "gnp.param_norm"];
    assert_eq!(output[..8], [&["loss"], &norms[..], &["gnp.counted", "gnp.wrong", "logits"]].concat());
    assert_eq!(output[8..], next);
    let pairs: Vec<(String, String)> = serde_json::from_str(step.metadata("gnp.state").unwrap()).unwrap();
    assert_eq!(pairs, state.iter().cloned().zip(next).collect::<Vec<_>>());

    // What may be left out has an initial value, what may not has none.
    let initial = |name: &str| step.graph.initializer.iter().any(|tensor| tensor.name() == name);
    assert!(!initial("image") && !initial("labels"));
    assert!(input[2..].iter().all(|name| initial(name)));
    let model = StepModel::recognise(&step).unwrap();
    assert_eq!(model.default_of("lr"), Some(1e-3));
    assert_eq!(model.default_of("gnp.warmup_steps"), Some(5.0));
    let zeros = model.initial_state(&step).unwrap();
    let zero = slots.iter().all(|slot| zeros.get(slot).unwrap().as_f32().unwrap().iter().all(|x| *x == 0.0));
    assert!(zero && zeros.get("step") == Some(&Tensor::I64(ndarray::arr0(0).into_dyn())));
}

#[test]
fn what_is_counted_and_the_logits_are_returned_where_they_tell_classes() {
    let returned = |model: &ModelProto, arguments: &[&str]| {
        let folder = folder(model);
        rewrite(&folder, arguments);
        StepModel::recognise(&step(&folder)).unwrap().outputs.split_off(5)
    };
    let counts = ["gnp.counted", "gnp.wrong"];
    assert_eq!(returned(&perceptron(), &["--loss", "cross-entropy"]), [&counts[..], &["logits"]].concat());
    let weighted = returned(&perceptron(), &["--loss", "cross-entropy", "--class-weights", "1,2,0.5"]);
    assert_eq!(weighted, [&counts[..], &["gnp.weight", "logits"]].concat());
    assert_eq!(returned(&perceptron(), &["--loss", "soft-cross-entropy"]), [&counts[..], &["logits"]].concat());
    assert_eq!(returned(&perceptron(), &["--loss", "bce"]), counts);
    assert_eq!(returned(&perceptron(), &["--loss", "mse"]), [""; 0]);
}

#[test]
fn only_standard_operators_are_left() {
    let folder = folder(&network());
    fn all(nodes: &[NodeProto]) -> Vec<&NodeProto> {
        nodes.iter().flat_map(|node| node.subgraphs().flat_map(|body| all(&body.node)).chain([node])).collect()
    }
    rewrite(&folder, &["--flat"]);
    let flat = step(&folder);
    assert!(all(&flat.graph.node).iter().all(|node| node.domain().is_empty()));
    assert!(flat.header.opset_import.iter().all(|opset| opset.domain().is_empty()));
    assert!(flat.header.functions.is_empty());

    // Or in functions over them, all of which are there.
    let folder = self::folder(&network());
    rewrite(&folder, &[]);
    let step = step(&folder);
    let functions: Vec<&str> = step.header.functions.iter().map(|function| function.name()).collect();
    for node in all(&step.graph.node) {
        assert!(node.domain().is_empty() || node.domain() == "gnp" && functions.contains(&node.op_type()), "{node:?}");
    }
    assert!(step.header.functions.iter().all(|f| f.node.iter().all(|node| node.domain().is_empty())));
    assert!(all(&step.graph.node).len() < all(&flat.graph.node).len());
}

#[test]
fn metadata_say_what_was_chosen_and_keep_what_was_there() {
    let folder = folder(&perceptron());
    rewrite(&folder, &["--loss", "huber", "--optimizer", "rmsprop", "--r", "0.25", "--perturb", "adaptive"]);
    let step = step(&folder);
    assert_eq!(step.metadata("author"), Some("someone"));
    assert_eq!(step.metadata("gnp.version"), Some(env!("CARGO_PKG_VERSION")));
    let config: Value = serde_json::from_str(step.metadata("gnp.config").unwrap()).unwrap();
    assert_eq!(config["model"], "model.onnx");
    assert_eq!(config["loss"]["kind"], "huber");
    assert_eq!(config["optimizer"]["kind"], "rmsprop");
    assert_eq!((&config["r"], &config["perturb"]), (&json!(0.25), &json!("adaptive")));
}

#[test]
fn factors_are_recorded_and_in_the_graph_where_they_are_not_1() {
    let nodes = |arguments: &[&str]| {
        let folder = folder(&perceptron());
        rewrite(&folder, &[&["--loss", "mse", "--weight-decay", "0.1", "--flat"], arguments].concat());
        let step = step(&folder);
        let config: Value = serde_json::from_str(step.metadata("gnp.config").unwrap()).unwrap();
        (step.graph.node.len(), config["optimizer"].clone())
    };
    let (plain, config) = nodes(&[]);
    assert_eq!((&config["lr_scale"], &config["decay_scale"]), (&json!([]), &json!([])));
    let (of_one, _) = nodes(&["--lr-scale", "*=1", "--decay-scale", "fc1.*=1"]);
    assert_eq!(of_one, plain);
    // One product for both of the parameters, and two nodes less for each that does not decay.
    let (scaled, config) = nodes(&["--lr-scale", "fc1.*=0.5", "--decay-scale", "*.bias=0"]);
    assert_eq!(scaled, plain + 1 - 4);
    assert_eq!(config["lr_scale"], json!([{ "glob": "fc1.*", "factor": 0.5 }]));
    assert_eq!(config["decay_scale"], json!([{ "glob": "*.bias", "factor": 0.0 }]));
}

#[test]
fn factors_are_given_by_the_names_in_the_file() {
    let mut model = perceptron();
    let graph = graph(&mut model);
    let names = graph.initializer.iter_mut().map(|t| &mut t.name).filter(|name| name.as_deref() == Some("fc1.bias"));
    names.for_each(|name| *name = Some("lr".into()));
    graph.node[1].input[1] = "lr".into();
    let folder = folder(&model);
    let text = rewrite(&folder, &["--loss", "mse", "--lr-scale", "lr=0.5"]);
    assert_says(&text, &["optimizer   momentum; learning rate of lr times 0.5\n"]);
    assert!(names_of_state(&step(&folder)).contains(&"gnp/model/lr".to_owned()));
}

fn names_of_state(step: &onnx::Model) -> Vec<String> {
    StepModel::recognise(step).unwrap().state.into_iter().map(|slot| slot.port.name).collect()
}

#[test]
fn the_bare_command_says_what_it_inferred() {
    let folder = folder(&network());
    let text = rewrite(&folder, &[]);
    let parts = [
        "model.onnx → step.onnx\n",
        "loss        cross-entropy of `logits`; labels of -100 do not count\n",
        "penalty     GNP: r = 0.1, alpha = 0.8",
        "optimizer   momentum\n",
        "trains      6 of 8 float constants, 123 numbers\n",
        "batch       image: FLOAT [batch, 1, 6, 6]; labels: INT64 [batch]\n",
        "lr = 0.001, gnp.r = 0.1, gnp.alpha = 0.8, gnp.momentum = 0.9\n",
        "the loss is cross-entropy, since the graph ends in a softmax",
        "Softmax `probabilities` at the end is left out",
        "operator",
        "second pass",
        "Wrote ",
        "Train it: gnp-run step.onnx",
    ];
    assert_says(&text, &parts);
    assert_says(&text, &["Trains: 6 of 8 float constants, 123 numbers\n", "Does not train: 2 of 8 float constants"]);
    let inferred = text.split("Inferred").nth(1).unwrap();
    for flag in
        ["--loss", "--logits", "--train, --also-train, --freeze", "--dim", "--batch-norm", "--random, --dropout"]
    {
        let lines = inferred.lines().filter(|line| line.trim_end().ends_with(&format!("   {flag}")));
        assert_eq!(lines.count(), 1, "{flag}: {text}");
    }
    let told = rewrite(&folder, &["--loss", "cross-entropy", "--logits", "logits", "--train", "fc.*", "--force"]);
    assert_says(&told, &["trains      2 of 8 float constants, 99 numbers"]);
    assert!(!told.contains("the loss is cross-entropy") && !told.contains("what trains follows"), "{told}");
}

#[test]
fn json() {
    let folder = folder(&classifier());
    let report: Value = serde_json::from_str(&rewrite(&folder, &["--json", "--check"])).unwrap();
    assert_eq!((&report["input"], &report["output"]), (&json!("model.onnx"), &json!("step.onnx")));
    assert_eq!(report["bytes"], fs::metadata(folder.path().join("step.onnx")).unwrap().len());
    assert_eq!(report["batch"], json!(["x: FLOAT [batch, 4]", "labels: INT64 [batch]"]));
    assert_eq!(report["parameters"], json!(["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]));
    assert_eq!(report["numbers"], 67);
    let first = json!({"name": "fc1.weight", "shape": [4, 8], "trains": true, "reason": "weight of MatMul", "undecided": false});
    assert_eq!(report["constants"][0], first);
    assert_eq!(report["config"]["loss"]["kind"], "cross-entropy");
    assert_eq!(report["hyperparameters"][0]["name"], "lr");
    let flags: Vec<_> = report["choices"].as_array().unwrap().iter().map(|choice| &choice["flag"]).collect();
    assert_eq!(flags, ["--loss", "--logits", "--train, --also-train, --freeze", "--dim"]);
    assert!(report["checked"]["runtime"].is_string());

    // The report's counts are those of the files.
    let step = step(&folder);
    let sum = |key: &str| -> usize {
        report["operators"].as_object().unwrap().values().map(|count| count[key].as_u64().unwrap() as usize).sum()
    };
    let branches = step.graph.node.iter().flat_map(|n| &n.attribute).filter_map(|a| a.g.as_ref());
    assert_eq!(sum("before"), 6);
    assert_eq!(sum("always"), step.graph.node.len());
    assert_eq!(sum("second_pass"), branches.map(|body| body.node.len()).sum::<usize>());
}

#[test]
fn as_much_is_written_and_printed_as_is_asked_for() {
    let folder = folder(&classifier());
    let before = contents(folder.path());
    let text = rewrite(&folder, &["--dry-run", "--check"]);
    assert_says(&text, &["step.onnx (dry run: nothing was written)", "Checked: structure and types; loads in "]);
    assert!(!text.contains("Wrote"), "{text}");
    assert!(contents(folder.path()) == before);
    assert_eq!(rewrite(&folder, &["--quiet", "--check"]), "");
    assert!(folder.path().join("step.onnx").is_file());
    let said = rewrite(&folder, &["--dry-run", "--force"]);
    assert_says(&said, &["Trains: all 4 float constants, 67 numbers\n  fc1.weight  [4, 8]  weight of MatMul\n"]);
}

#[test]
fn the_same_rewrite_gives_the_same_bytes() {
    let folder = folder(&network());
    let bytes = || {
        rewrite(&folder, &["--force", "--optimizer", "adam", "--clip-norm", "1", "--l2", "0.01"]);
        fs::read(folder.path().join("step.onnx")).unwrap()
    };
    assert!(bytes() == bytes());
}

#[test]
fn check_loads_the_step_in_the_engine_that_is_there() {
    needs!(engines);
    let folder = folder(&network());
    let check = |arguments: &[&str]| {
        let mut command = gnp_rewrite();
        command.current_dir(&folder).args(["model.onnx", "-o", "step.onnx", "--force", "--check"]).args(arguments);
        command
            .env("GNP_CACHE_DIR", folder.path().join("cache"))
            .env("PATH", folder.path())
            .env_remove("ORT_DYLIB_PATH");
        command
    };
    let tract = check(&[]).assert().success().get_output().stdout.clone();
    assert_says(&String::from_utf8(tract).unwrap(), &["Checked: structure and types; loads in tract; a step "]);
    let library = gnp::engine::runtime::install_onnxruntime(&mut |_| {}).unwrap().library;
    let found = check(&["--ort-lib", library.to_str().unwrap()]).assert().success().get_output().stdout.clone();
    assert_says(&String::from_utf8(found).unwrap(), &["loads in ONNX Runtime 1.", library.to_str().unwrap()]);
    assert_says(&refusal(&mut check(&["--ort-lib", "gone.so"])), &["gone.so"]);
}

#[test]
fn a_loss_of_its_own_needs_no_labels() {
    let mut model = perceptron();
    let mean = with(node("ReduceMean", &["logits"], "objective"), AttributeProto::int("keepdims", 0));
    append(&mut model, mean, info("objective", DataType::Float, ""));
    let folder = folder(&model);
    let text = rewrite(&folder, &[]);
    assert_says(&text, &["loss        the model's own, `objective`", "the loss is the graph's own scalar `objective`"]);
    assert_eq!(names(&step(&folder).graph.input)[..2], ["x", "lr"]);
    assert_says(&rewrite(&folder, &["--loss-output", "objective", "--force"]), &["the model's own, `objective`"]);
}

#[test]
fn of_several_outputs_logits_are_the_scores() {
    let mut two = perceptron();
    graph(&mut two).output.insert(0, info("hidden", DataType::Float, "batch,8"));
    let said = rewrite(&folder(&two), &["--loss", "cross-entropy"]);
    assert_says(&said, &["of several outputs the loss is taken of `logits`, by its name", "--logits"]);
    // A number may be the loss already.
    graph(&mut two).node.push(node("ReduceMean", &["logits"], "mean"));
    graph(&mut two).output.push(info("mean", DataType::Float, "1,1"));
    let folder = folder(&two);
    let refused = refusal(gnp_rewrite().current_dir(&folder).args(["model.onnx", "-o", "step.onnx"]));
    assert_says(&refused, &["`hidden`, `logits`, `mean`", "--loss-output"]);
}

#[test]
fn a_model_into_a_folder() {
    let folder = folder(&classifier());
    let other = tempfile::tempdir().unwrap();
    gnp_rewrite().arg(folder.path().join("model.onnx")).arg("-o").arg(other.path()).assert().success();
    assert!(StepModel::is_one(&onnx::read(other.path().join("model.onnx")).unwrap()));
}

/// The second is that of the first with other names for what the step model gives a meaning to.
#[test]
fn values_give_way_to_the_names_of_the_contract() {
    let rename = |model: &mut ModelProto, from: &str, to: &str| {
        let graph = graph(model);
        let values = graph.node.iter_mut().flat_map(|n| n.input.iter_mut().chain(&mut n.output));
        values.filter(|value| *value == from).for_each(|value| *value = to.into());
        graph.initializer.iter_mut().filter(|t| t.name() == from).for_each(|t| t.name = Some(to.into()));
        graph.output.iter_mut().filter(|o| o.name() == from).for_each(|o| o.name = Some(to.into()));
    };
    let mut model = perceptron();
    for (from, to) in [("logits", "loss"), ("hidden", "labels"), ("fc2.weight", "lr"), ("fc1", "fc1.weight.next")] {
        rename(&mut model, from, to);
    }
    let folder = folder(&model);
    let said = refusal(gnp_rewrite().current_dir(&folder).args(["model.onnx", "-o", "step.onnx"]));
    assert_says(&said, &["nothing tells which loss `loss`, FLOAT [batch, 3], is trained with"]);
    let text = rewrite(&folder, &["--loss", "cross-entropy", "--logits", "loss", "--train", "lr", "--check"]);
    assert_says(&text, &["cross-entropy of `loss`", "trains      1 of 4 float constants, 24 numbers"]);
    let step = step(&folder);
    assert_eq!(names(&step.graph.input)[..5], ["x", "labels", "lr", "gnp.r", "gnp.alpha"]);
    assert_eq!(names(&step.graph.input)[6..], ["gnp/model/lr", "gnp/model/lr.momentum"]);
    assert_eq!(names(&step.graph.output)[0], "loss");
}

#[test]
fn no_concat_and_no_split_has_more_parts_than_cuda_takes_at_once() {
    let mut wide = empty();
    let inner = graph(&mut wide);
    inner.input = vec![info("image", DataType::Float, "batch,1,9,9")];
    inner.initializer = vec![weight("conv.weight", &[3, 1, 7, 7]), weight("fc.weight", &[27, 3])];
    let conv = with(node("Conv", &["image", "conv.weight"], "conv"), AttributeProto::ints("pads", &[0; 4]));
    inner.node = vec![conv, node("Flatten", &["conv"], "flat"), node("MatMul", &["flat", "fc.weight"], "logits")];
    inner.output.push(info("logits", DataType::Float, "batch,3"));
    let wide = folder(&wide);

    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let models = ["cnn", "cnn_head", "mlp", "vit"].map(|name| models.join(name).join("model.onnx"));
    for path in models.into_iter().chain([wide.path().join("model.onnx")]) {
        let options = StepOptions { loss: LossKind::CrossEntropy.into(), ..StepOptions::default() };
        let (step, _) = make_step(onnx::read(&path).unwrap(), &options).unwrap();
        let (concats, parts) = concats(&step.graph.node);
        assert!(parts <= CONCAT_INPUTS, "{}: {parts} parts", path.display());
        assert!(concats > 0, "{}", path.display());
    }
}

/// How many Concat and Split there are, in bodies too, and the most parts that one has.
fn concats(nodes: &[NodeProto]) -> (usize, usize) {
    let mut found = (0, 0);
    for node in nodes {
        let parts = match node.op_type() {
            "Concat" => node.input.len(),
            "Split" => node.output.len(),
            _ => 0,
        };
        found = (found.0 + usize::from(parts > 0), found.1.max(parts));
        for body in node.subgraphs() {
            let inner = concats(&body.node);
            found = (found.0 + inner.0, found.1.max(inner.1));
        }
    }
    found
}
