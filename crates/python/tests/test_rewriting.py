"""Step models: made, looked at, written, and trained weights put back."""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import gnp

MODELS = Path(__file__).parents[3] / "models"


def test_a_model_may_be_a_file_bytes_or_a_message():
    file = MODELS / "mlp/model.onnx"
    sources = [file, str(file), file.read_bytes(), onnx.load(file)]
    made = [gnp.rewrite(source, loss="cross-entropy", r=0.05, alpha=1.0) for source in sources]
    step = made[0].proto
    onnx.checker.check_model(step)
    for other in made[1:]:
        found = other.proto
        assert found.graph == step.graph


@pytest.mark.filterwarnings("ignore:a guess")
def test_options_are_those_of_the_program():
    step = gnp.rewrite(
        MODELS / "vit/model.onnx",
        loss="cross-entropy",
        optimizer="adamw",
        freeze=["*bias"],
        lr_scale={"*": 0.5},
        clip_norm=1,
        decay_skip_1d=None,
        lr=np.float32(0.25),
        lambda_=0.04,
        r=0.1,
    )
    report = step.report
    assert report.config["alpha"] == pytest.approx(0.4)
    assert report.hyperparameters["lr"] == 0.25
    assert not [name for name in report.parameters if name.endswith("bias")]
    by_name = {constant.name: constant for constant in report.constants}
    assert all(by_name[name].trains for name in report.parameters)
    assert "clip" in json.dumps(report.config)
    assert report.text.startswith("loss ")


def test_the_report_is_a_table_in_a_notebook():
    report = gnp.rewrite(MODELS / "cnn/model.onnx", loss="cross-entropy").report
    page = report._repr_html_()
    assert page.count("<tr>") == 1 + len(report.constants)
    assert "batch_norm" in page
    assert "--" not in page
    assert "`" not in page and "<code>batch</code>" in page


def test_guesses_are_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        step = gnp.rewrite(MODELS / "vit/model.onnx", loss="cross-entropy")
    caught = [warning for warning in caught if warning.category is UserWarning]
    said = [str(warning.message) for warning in caught]
    assert said == list(step.report.warnings)
    assert any("freeze='position'" in text for text in said)
    assert all(Path(warning.filename) == Path(__file__) for warning in caught)


def test_what_is_saved_is_what_the_program_writes(tmp_path):
    step = gnp.rewrite(MODELS / "cnn/model.onnx", loss="cross-entropy")
    file = step.save(tmp_path / "step.onnx")
    assert file.read_bytes() == step.to_bytes()
    with pytest.raises(gnp.GnpError, match="exists already") as raised:
        step.save(file)
    assert raised.value.kind == "input"
    assert "force=" in str(raised.value)
    before = file.read_bytes()
    step.save(file, force=True)
    assert file.read_bytes() == before


def test_weights_go_back_into_the_model_that_was_given(tmp_path):
    model = onnx.load(MODELS / "cnn/model.onnx")
    step = gnp.rewrite(model, loss="cross-entropy")
    state = step.state
    assert sorted(state) == sorted(step.state_names)
    same = step.trained(state)
    assert same.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)

    name = step.report.parameters[0]
    state[name] = state[name] + 1
    changed = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in step.trained(state).graph.initializer}
    np.testing.assert_array_equal(changed[name], state[name])
    file = step.save_trained(state, tmp_path / "trained.onnx")
    assert onnx.load(file) == step.trained(state)


def test_the_evaluation_model_takes_batch_and_state():
    step = gnp.rewrite(MODELS / "cnn/model.onnx", loss="cross-entropy")
    session = onnxruntime.InferenceSession(step.evaluation().SerializeToString())
    names = {value.name for value in session.get_inputs()}
    assert {"input", "labels"} <= names
    assert set(names) - {"input", "labels"} <= set(step.state_names)


def test_a_step_model_knows_the_model_beside_it(tmp_path):
    (tmp_path / "model.onnx").write_bytes((MODELS / "mlp/model.onnx").read_bytes())
    made = gnp.rewrite(tmp_path / "model.onnx", loss="cross-entropy")
    made.save(tmp_path / "step.onnx")
    loaded = gnp.StepModel.load(tmp_path / "step.onnx")
    assert loaded.trained(loaded.state) == onnx.load(tmp_path / "model.onnx")
    with pytest.raises(gnp.GnpError, match="report is not known"):
        _ = loaded.report

    (tmp_path / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    alone = gnp.StepModel.load(tmp_path / "step.onnx")
    with pytest.raises(gnp.GnpError, match="not known") as raised:
        alone.evaluation()
    assert "forward=" in str(raised.value)
    named = gnp.StepModel.load(tmp_path / "step.onnx", forward=tmp_path / "elsewhere.onnx")
    assert named.evaluation() == made.evaluation()


def test_external_data_of_a_message_lies_where_it_is_said(tmp_path):
    onnx.save(
        onnx.load(MODELS / "mlp/model.onnx"),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        size_threshold=0,
        location="m.data",
    )
    message = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    step = gnp.rewrite(message, folder=tmp_path, loss="cross-entropy")
    whole = gnp.rewrite(MODELS / "mlp/model.onnx", loss="cross-entropy")
    state = step.state
    for name, array in whole.state.items():
        np.testing.assert_array_equal(state[name], array)
    assert not any(tensor.HasField("data_location") and tensor.data_location for tensor in step.proto.graph.initializer)
    with pytest.raises(gnp.GnpError, match="nowhere"):
        gnp.rewrite(message, folder=tmp_path / "nowhere", loss="cross-entropy")


def test_artifacts_are_made_and_rewritten(tmp_path):
    report = gnp.make_artifacts(
        MODELS / "cnn/model.onnx", tmp_path / "artifacts", loss="cross-entropy", optimizer="sgd"
    )
    files = {name for name, _ in report["artifacts"]["files"]}
    assert files == {file.name for file in (tmp_path / "artifacts").iterdir()}
    rewritten = gnp.rewrite_artifacts(MODELS / "mlp", tmp_path / "gnp", r=0.05, alpha=1.0, expose=["r", "alpha"])
    assert rewritten["settings"]["expose_r"] is True
    training = onnx.load(tmp_path / "gnp/training_model.onnx")
    assert {"gnp.r", "gnp.alpha"} <= {value.name for value in training.graph.input}
    with pytest.raises(gnp.GnpError) as raised:
        gnp.rewrite_artifacts(MODELS / "mlp", tmp_path / "gnp")
    assert "force=" in str(raised.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"losss": "mse"}, "did you mean `loss`"),
        ({"loss": "mean"}, "invalid value 'mean' for 'loss='"),
        ({"loss": 3}, "invalid value '3'"),
        ({"loss": object()}, "of type object"),
        ({"clip_norm": "much"}, "invalid value 'much' for 'clip_norm='"),
        ({"clip_norm": [1, 2]}, "single value"),
        ({"l2_skip_1d": 1}, "expected true or false"),
        ({"alpha": 1.0, "lambda_": 1.0}, "cannot be used with"),
        ({"r": -1.0}, "r "),
        ({"train": ["nothing*"]}, "nothing*"),
    ],
)
def test_options_that_are_none_are_told(options, says):
    with pytest.raises(gnp.GnpError) as raised:
        gnp.rewrite(MODELS / "mlp/model.onnx", **{"loss": "cross-entropy", **options})
    assert says in str(raised.value)
    assert "--" not in str(raised.value)


@pytest.mark.parametrize("model", [None, 3, b"", b"nonsense", "no/such/file.onnx", [], onnx.ModelProto()])
def test_what_is_no_model_is_told(model):
    with pytest.raises(gnp.GnpError):
        gnp.rewrite(model)


def test_an_error_has_its_parts(tmp_path):
    # A graph with an operator that has no gradient.
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])
    w = onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), "w")
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], "product"),
        onnx.helper.make_node("Strange", ["h"], ["y"], "oddity", domain="a.strange"),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], [w])
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("a.strange", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(gnp.GnpError) as raised:
        gnp.rewrite(tmp_path / "m.onnx", loss="mse")
    error = raised.value
    assert (error.kind, error.node) == ("unsupported", "oddity"), error
    assert error.operator is not None and "Strange" in error.operator
    assert error.file == str(tmp_path / "m.onnx")
