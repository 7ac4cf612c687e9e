//! What `gnp-rewrite` says to a forward model that it cannot make a step of: one clear message with a way out, exit
//! code 2, and no file touched.
use crate::support::command::{assert_says, contents, gnp_rewrite, refusal};
use crate::support::forward::{append, classifier, empty, graph, info, node, perceptron, weight, with, write};
use crate::support::models;
use gnp::onnx::DataType;
use gnp::onnx::proto::{AttributeProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use std::fs;

const FLOAT: DataType = DataType::Float;

/// Checks that the model is refused, into a new file and over an existing one, with every one of `parts` in the
/// message, which names the file and a way out.
#[track_caller]
fn refused(model: &ModelProto, arguments: &[&str], parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let input = write(model, &folder.path().join("model.onnx"));
    fs::write(folder.path().join("old.onnx"), "old").unwrap();
    let before = contents(folder.path());
    for output in ["new.onnx", "old.onnx"] {
        let said =
            refusal(gnp_rewrite().arg(&input).args(arguments).arg("--force").arg("-o").arg(folder.path().join(output)));
        println!("{said}");
        assert_says(&said, parts);
        assert_says(&said, &["model.onnx: ", "help: "]);
        assert!(contents(folder.path()) == before, "files changed: {said}");
    }
}

/// Wrong usage, which is refused before the model is looked at.
#[track_caller]
fn misused(arguments: &[&str], parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let input = write(&classifier(), &folder.path().join("model.onnx"));
    let output = folder.path().join("new.onnx");
    let said = refusal(gnp_rewrite().arg(input).args(arguments).arg("-o").arg(&output));
    println!("{said}");
    assert_says(&said, parts);
    assert!(!output.exists());
}

#[test]
fn operators_without_a_rule_are_all_listed() {
    let magic =
        |input: &str, output: &str| NodeProto { domain: Some("acme".into()), ..node("Magic", &[input], output) };
    let with_domain = || {
        let mut model = perceptron();
        model.opset_import.push(OperatorSetIdProto { domain: Some("acme".into()), version: Some(1) });
        model
    };
    let mut one = with_domain();
    append(&mut one, magic("logits", "strange"), info("strange", FLOAT, "batch,3"));
    refused(&one, &["--loss", "mse"], &["node `strange` (acme.Magic)", "no gradient rule", "--freeze", "--logits"]);
    let mut two = with_domain();
    append(&mut two, magic("logits", "first"), info("first", FLOAT, ""));
    append(&mut two, magic("logits", "second"), info("second", FLOAT, ""));
    append(&mut two, node("Sub", &["first", "second"], "end"), info("end", FLOAT, ""));
    refused(
        &two,
        &["--loss", "mse"],
        &[
            "2 nodes on the way of the gradient have no gradient rule",
            "`first` (acme.Magic)",
            "`second` (acme.Magic)",
            "docs/gradients.md",
        ],
    );
}

#[test]
fn adapters_that_there_cannot_be() {
    refused(&classifier(), &["--lora", "0"], &["--lora 0: adapters of rank 0", "8 is common"]);
    let nearest = ["--lora-target fc9.weight: no weight of a MatMul or Gemm has such a name", "did you mean `fc"];
    refused(&classifier(), &["--lora", "2", "--lora-target", "fc9.weight"], &nearest);
    refused(&classifier(), &["--lora", "2", "--lora-alpha", "-1"], &["--lora-alpha is -1"]);
    let whole = ["--lora", "2", "--lora-target", "fc1.weight", "--also-train", "fc1.*"];
    refused(&classifier(), &whole, &["`fc1.weight` trains whole"]);
    misused(&["--lora-target", "fc1.weight"], &["--lora <RANK>"]);
}

#[test]
fn a_way_of_whole_numbers() {
    let mut model = perceptron();
    let cast = |to: DataType| AttributeProto::int("to", to as i64);
    append(&mut model, with(node("Cast", &["logits"], "whole"), cast(DataType::Int64)), info("whole", FLOAT, ""));
    append(&mut model, with(node("Cast", &["whole"], "back"), cast(FLOAT)), info("back", FLOAT, "batch,3"));
    refused(
        &model,
        &["--loss", "mse"],
        &["the loss `back` depends on no trainable parameter", "through whole numbers", "--logits"],
    );
    append(
        &mut model,
        with(node("ArgMax", &["logits"], "class"), AttributeProto::int("axis", 1)),
        info("class", DataType::Int64, "batch,1"),
    );
    refused(&model, &[], &["no output of the graph is of floats", "--logits NAME"]);
}

#[test]
fn nothing_to_train() {
    let mut model = empty();
    append(&mut model, node("Relu", &["x"], "y"), info("y", FLOAT, "batch,4"));
    refused(&model, &[], &["no trainable parameter: expected float32 weights", "export the model with its weights"]);
    refused(&classifier(), &["--freeze", "*"], &["no trainable parameter", "--freeze names all that train"]);
    let mut scaled = empty();
    append(&mut scaled, node("Mul", &["x", "temperature"], "y"), info("y", FLOAT, "batch,4"));
    graph(&mut scaled).initializer.push(weight("temperature", &[]));
    refused(&scaled, &["--loss", "mse"], &["no trainable parameter", "--train GLOB", "`temperature`"]);
    let half = TensorProto::raw("temperature", DataType::Float16, &[], vec![0x00, 0x3c].into());
    graph(&mut scaled).initializer = vec![half];
    refused(&scaled, &["--loss", "mse"], &["no trainable parameter", "compute with"]);
}

#[test]
fn ends_that_are_no_loss() {
    refused(
        &perceptron(),
        &["--loss-output", "logits"],
        &["the loss `logits` is FLOAT [batch, 3]; expected a float scalar", "--logits logits --loss cross-entropy"],
    );
    refused(
        &perceptron(),
        &[],
        &[
            "nothing tells which loss `logits`, FLOAT [batch, 3], is trained with",
            "class numbers: --loss cross-entropy",
            "of numbers: --loss mse",
        ],
    );
    let mut two = classifier();
    graph(&mut two).output.push(info("hidden", FLOAT, "batch,8"));
    refused(
        &two,
        &[],
        &[
            "several outputs",
            "`probabilities`, `hidden`",
            "--logits probabilities, or --logits hidden",
            "--loss-output",
        ],
    );
    let axes = &["--loss", "cross-entropy", "--class-axis", "7"];
    refused(&perceptron(), axes, &["the logits have 2 axes, and the classes are on axis 7", "--class-axis"]);
}

#[test]
fn shapes_are_short() {
    let mut model = perceptron();
    let long = "the_number_of_the_samples_in_a_batch_of_this_model";
    graph(&mut model).input[0] = info("x", FLOAT, &format!("{long},4"));
    graph(&mut model).output[0] = info("logits", FLOAT, &format!("{long},3"));
    refused(&model, &[], &["nothing tells which loss `logits`, FLOAT [the_number_of_the_sampl…, 3], is trained with"]);
}

#[test]
fn names_that_are_not_there() {
    for (arguments, parts) in [
        (["--train", "fc1.wieght"], ["--train fc1.wieght", "did you mean `fc1.weight`?"]),
        (["--freeze", "backbone.*"], ["--freeze backbone.*", "there are `fc1.weight`, `fc1.bias`"]),
        (["--logits", "logit"], ["--logits logit", "did you mean `logits`?"]),
        (["--loss-output", "probabilitys"], ["--loss-output probabilitys", "did you mean `probabilities`?"]),
        (["--dim", "bacth=3"], ["no dimension called `bacth`", "did you mean `batch`?"]),
    ] {
        refused(&classifier(), &arguments, &parts);
    }
}

#[test]
fn models_that_are_finished() {
    let mut model = perceptron();
    let quantised = node("QuantizeLinear", &["logits", "scale"], "quantised");
    append(&mut model, quantised, info("quantised", DataType::Uint8, "batch,3"));
    graph(&mut model).initializer.push(weight("scale", &[]));
    refused(&model, &[], &["node `quantised` (QuantizeLinear)", "the model is quantised", "before it was quantised"]);

    let folder = tempfile::tempdir().unwrap();
    let input = write(&classifier(), &folder.path().join("model.onnx"));
    let step = folder.path().join("step.onnx");
    gnp_rewrite().arg(input).arg("-o").arg(&step).assert().success();
    let again = gnp::onnx::read(&step).unwrap().into_proto();
    refused(&again, &[], &["the model is rewritten already (by gnp", "the original model"]);

    let mut old = classifier();
    old.opset_import[0].version = Some(6);
    refused(&old, &[], &["6", "7"]);
}

#[test]
fn names_that_mean_something_else() {
    let mut model = classifier();
    graph(&mut model).input.push(info("lr", FLOAT, ""));
    graph(&mut model).node.push(node("Mul", &["probabilities", "lr"], "scaled"));
    graph(&mut model).output[0] = info("scaled", FLOAT, "batch,3");
    refused(&model, &["--loss", "mse"], &["an input `lr`", "means something else", "--rename 'lr=model_lr'"]);
    let mut model = classifier();
    graph(&mut model).input[0] = info("labels", FLOAT, "batch,4");
    graph(&mut model).node[0].input[0] = "labels".into();
    refused(&model, &[], &["an input `labels`", "--loss-output", "--rename 'labels=model_labels'"]);
}

#[test]
fn numbers_out_of_range() {
    for (arguments, says) in [
        (&["--r", "-0.1"][..], "r is -0.1; expected a finite number, zero or above"),
        (&["--alpha", "nan"], "alpha is NaN"),
        (&["--lr", "-1"], "the learning rate is -1; expected a finite number zero or above"),
        (&["--momentum", "1"], "the momentum is 1; expected a finite number from 0 to below 1"),
        (&["--weight-decay", "-0.1"], "the weight decay is -0.1"),
        (&["--clip-norm", "0"], "the clipping norm is 0; expected a finite number above zero"),
        (&["--l2", "inf"], "the weight of l2 is inf"),
        (&["--label-smoothing", "1"], "label smoothing is 1; expected a number from 0 to below 1"),
        (&["--label-smoothing", "0.1", "--loss", "mse"], "label smoothing is for losses over classes"),
        (&["--class-axis", "1", "--loss", "mse"], "an axis of classes is for losses over classes"),
        (&["--gr-warmup", "r"], "the warm-up of the penalty has no length"),
        (&["--gr-warmup", "zero", "--gr-warmup-steps", "0"], "the warm-up of the penalty has no length"),
    ] {
        refused(&classifier(), arguments, &[says]);
    }
}

#[test]
fn flags_of_the_other_kind() {
    refused(
        &classifier(),
        &["--expose", "r"],
        &["--expose and --metrics are for training artifacts", "leave them out"],
    );
    refused(&classifier(), &["--metrics"], &["--expose and --metrics are for training artifacts"]);
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    for arguments in [
        &["--loss", "mse"][..],
        &["--logits", "logits"],
        &["--train", "*"],
        &["--dim", "batch=3"],
        &["--rename", "x=y"],
        &["--lr", "0.1"],
        &["--emit", "ort-training"],
        &["--loss-alone"],
    ] {
        let said = refusal(gnp_rewrite().arg(models().join("mlp")).args(arguments).arg("-o").arg(&output));
        assert_says(&said, &["mlp: ", arguments[0], "is for forward models", "help: "]);
        assert!(!output.exists());
    }
}

#[test]
fn what_is_kept_needs_the_whole_folder_of_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let (mlp, file) = (models().join("mlp"), models().join("mlp/training_model.onnx"));
    for (input, arguments, says) in [
        (&mlp, &["--momentum", "0.5"][..], &["--momentum is a part of an optimizer", "--optimizer"][..]),
        (&mlp, &["--gr-warmup", "r"], &["the warm-up of the penalty has no length", "--gr-warmup-steps"]),
        (&mlp, &["--clip-norm", "-1"], &["the clipping norm is -1", "above zero"]),
        (&mlp, &["--artifact-prefix", "mnist_"], &["the folder has no mnist_training_model.onnx"]),
        (&mlp, &["--artifact-prefix", "../"], &["`../` is no beginning of a file's name"]),
        (&file, &["--optimizer", "momentum"], &["the checkpoint and the other models change", "name the folder"]),
        (&file, &["--gr-warmup", "zero", "--gr-warmup-steps", "3"], &["the checkpoint and the other models change"]),
    ] {
        let said = refusal(gnp_rewrite().arg(input).args(arguments).arg("-o").arg(&output));
        assert_says(&said, says);
        assert!(!output.exists());
    }
}

#[test]
fn wrong_usage() {
    misused(&["--loss", "hinge"], &["'hinge'", "[possible values: auto, cross-entropy, soft-cross-entropy, mse"]);
    misused(&["--dim", "batch"], &["expected AXIS=SIZE", "not `batch`"]);
    misused(&["--dim", "batch=-1"], &["-1 is no size; expected a number from 0 on, or a name"]);
    misused(&["--rename", "batch"], &["expected NAME=NEW", "not `batch`"]);
    misused(&["--gr-warmup-steps", "3"], &["--gr-warmup <WHAT>"]);
    misused(&["--l2-skip-1d"], &["--l2 <C>"]);
    misused(&["--loss-output", "logits", "--loss", "mse"], &["cannot be used with"]);
    misused(&["--loss-output", "logits", "--label-smoothing", "0.1"], &["cannot be used with"]);
}

#[test]
fn outputs_that_exist() {
    let folder = tempfile::tempdir().unwrap();
    let input = write(&classifier(), &folder.path().join("model.onnx"));
    fs::write(folder.path().join("old.onnx"), "old").unwrap();
    let before = contents(folder.path());
    let is_read = ["which the command reads", "-o"];
    // In a folder, the output has the model's name.
    for (output, says) in [("old.onnx", ["exists already", "--force"]), ("model.onnx", is_read), ("", is_read)] {
        for dry in [&[][..], &["--dry-run"]] {
            let said = refusal(gnp_rewrite().arg(&input).args(dry).arg("-o").arg(folder.path().join(output)));
            assert_says(&said, &says);
            assert!(contents(folder.path()) == before);
        }
    }
}

#[test]
fn factors_of_nothing_are_refused() {
    refused(
        &classifier(),
        &["--lr-scale", "fc1.*=0.5", "--lr-scale", "fc3.weight=0.1"],
        &["--lr-scale fc3.weight: no trainable parameter has such a name", "did you mean `fc"],
    );
    let frozen = ["--freeze", "fc1.*", "--weight-decay", "0.1", "--decay-scale", "fc1.*=0"];
    refused(&classifier(), &frozen, &["--decay-scale fc1.*: no trainable parameter has such a name"]);
    refused(&classifier(), &["--decay-scale", "fc1.*=0"], &["--decay-scale is of no use", "--weight-decay"]);
    for factor in ["fc1.*", "fc1.*=", "=1", "fc1.*=-1", "fc1.*=NaN"] {
        misused(&["--lr-scale", factor], &["--lr-scale <GLOB=FACTOR>", "expected GLOB=FACTOR with a number from 0 on"]);
    }
}
