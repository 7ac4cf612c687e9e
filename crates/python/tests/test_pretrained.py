"""Folders in the layout of Hugging Face."""

import json

import numpy as np
import onnx
import pytest

import gnp


def classifier(names):
    """A model of token ids: the mean of their embeddings, and two classes."""
    draw = np.random.default_rng(0)
    numbers = {"words": draw.normal(size=(8, 4)), "head": draw.normal(size=(4, 2))}
    weights = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in numbers.items()]
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    nodes = [
        onnx.helper.make_node("Gather", ["words", "input_ids"], ["found"]),
        onnx.helper.make_node("ReduceMean", ["found", "axes"], ["mean"], keepdims=0),
        onnx.helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["n", "tokens"]) for name in names]
    output = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 2])
    graph = onnx.helper.make_graph(nodes, "g", inputs, [output], [*weights, axes])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def folder(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tmp_path / "model"
    (made / "onnx").mkdir(parents=True)
    onnx.save(classifier(["input_ids"]), made / "onnx/model.onnx")
    (made / "config.json").write_text(json.dumps({"id2label": {"10": "c", "0": "a", "2": "b"}, "model_type": "x"}))
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "a", "b", "c"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(made / "tokenizer.json"))
    return made


def test_what_belongs_to_a_model_is_there(folder):
    found = gnp.from_pretrained(folder)
    assert found.path == folder / "onnx/model.onnx"
    assert found.labels == ["a", "b", "c"]
    assert found.config["model_type"] == "x"
    assert found.preprocessor == {}
    assert found.tokenizer.get_vocab_size() == 5


def test_texts_are_padded_and_cut_off(folder):
    found = gnp.from_pretrained(folder)
    ids = found.encode(["a b c", "d"])
    assert list(ids) == ["input_ids"]
    np.testing.assert_array_equal(ids["input_ids"], [[2, 3, 4], [1, 0, 0]])
    np.testing.assert_array_equal(found.encode(["a b c", "d"], length=2)["input_ids"], [[2, 3], [1, 0]])
    assert ids["input_ids"].dtype == np.int64
    # The last length does not stay.
    np.testing.assert_array_equal(found.encode(["a b c"])["input_ids"], [[2, 3, 4]])


def test_a_trained_model_is_read_again(folder, tmp_path):
    found = gnp.from_pretrained(folder)
    step = gnp.rewrite(found.path, loss="cross-entropy", optimizer="sgd")
    trainer = gnp.Trainer(step, engine="tract")
    trainer.step(found.encode(["a b", "c"]) | {"labels": [0, 1]}, lr=1.0)
    written = found.save(tmp_path / "trained", step.trained(trainer.state_dict()))
    assert gnp.from_pretrained(tmp_path / "trained") == written
    assert written.path == tmp_path / "trained/onnx/model.onnx"
    assert written.labels == found.labels
    assert written.tokenizer.to_str() == found.tokenizer.to_str()
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(written.path).graph.initializer}
    np.testing.assert_array_equal(weights["head"], trainer.state_dict()["head"])
    with pytest.raises(gnp.GnpError, match="exists already"):
        found.save(tmp_path / "trained", step.trained(trainer.state_dict()))


def test_full_precision_is_taken_where_there_are_several(folder):
    model = folder / "onnx/model.onnx"
    (folder / "onnx/model_quantized.onnx").write_bytes(model.read_bytes())
    assert gnp.from_pretrained(folder).path == model
    chosen = gnp.from_pretrained(folder, file="onnx/model_quantized.onnx")
    assert chosen.path == folder / "onnx/model_quantized.onnx"
    model.rename(folder / "onnx/model_fp16.onnx")
    with pytest.raises(gnp.GnpError, match="several models") as raised:
        gnp.from_pretrained(folder)
    assert "onnx/model_fp16.onnx, onnx/model_quantized.onnx" in str(raised.value)


def test_what_is_missing_is_told(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (folder / "broken").mkdir()
    onnx.save(classifier(["input_ids"]), folder / "broken/model.onnx")
    (folder / "broken/config.json").write_text("{")
    (folder / "broken/tokenizer.json").write_text("{}")
    for call, says in [
        (lambda: gnp.from_pretrained(tmp_path / "none"), "no such folder"),
        (lambda: gnp.from_pretrained(None), "expected a path"),
        (lambda: gnp.from_pretrained(tmp_path / "empty"), "no ONNX model"),
        (lambda: gnp.from_pretrained(folder, file="other.onnx"), "no such file"),
        (lambda: gnp.from_pretrained(folder / "broken"), "not JSON"),
        (lambda: gnp.from_pretrained(folder).encode("text"), "list of at least one"),
        (lambda: gnp.from_pretrained(folder).encode([]), "list of at least one"),
        (lambda: gnp.from_pretrained(folder).encode([3]), "refuses the texts"),
    ]:
        with pytest.raises(gnp.GnpError, match=says):
            call()
    (folder / "broken/config.json").unlink()
    with pytest.raises(gnp.GnpError, match="not a tokenizer"):
        _ = gnp.from_pretrained(folder / "broken").tokenizer
    (folder / "tokenizer.json").unlink()
    with pytest.raises(gnp.GnpError, match=r"no tokenizer\.json"):
        gnp.from_pretrained(folder).encode(["a"])
