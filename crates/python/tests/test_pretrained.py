"""Folders in the layout of Hugging Face."""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import gnp
from gnp import _messages, pretrained

# In the order of a JSON file that sorts its keys.
LABELS = {"0": "a", "1": "b", "10": "k", "11": "l"} | {str(number): "abcdefghij"[number] for number in range(2, 10)}


def classifier(names, tokens="tokens"):
    """A model of token ids: the mean of their embeddings, and two classes."""
    draw = np.random.default_rng(0)
    numbers = {"words": draw.normal(size=(12, 4)), "head": draw.normal(size=(4, 2))}
    weights = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in numbers.items()]
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    nodes = [
        onnx.helper.make_node("Gather", ["words", "input_ids"], ["found"]),
        onnx.helper.make_node("ReduceMean", ["found", "axes"], ["mean"], keepdims=0),
        onnx.helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["n", tokens]) for name in names]
    output = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 2])
    graph = onnx.helper.make_graph(nodes, "g", inputs, [output], [*weights, axes])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def folder(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tmp_path / "model"
    (made / "onnx").mkdir(parents=True)
    onnx.save(classifier(["input_ids"]), made / "onnx/model.onnx")
    (made / "config.json").write_text(json.dumps({"id2label": LABELS, "model_type": "x"}))
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "a", "b", "c"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(made / "tokenizer.json"))
    return made


def test_what_belongs_to_a_model_is_there(folder):
    found = gnp.from_pretrained(folder)
    assert found.path == folder / "onnx/model.onnx"
    assert found.labels == list("abcdefghijkl")
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


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "very", "a"]
TEXTS = ["a very good film", "bad", "a bad film"]
TEXT_INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def write(folder, **files):
    """Writes JSON files, by their names without the ending."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def models(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        onnx.save(classifier(["input_ids"]), folder / name)


def bert_tokenizer():
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


@pytest.fixture
def bert(tmp_path):
    """A folder as optimum writes it, of a model that takes what BERT takes."""
    made = tmp_path / "bert"
    made.mkdir()
    onnx.save(classifier(TEXT_INPUTS), made / "model.onnx")
    bert_tokenizer().save(str(made / "tokenizer.json"))
    write(
        made,
        config={"id2label": {"1": "good", "0": "bad"}, "max_position_embeddings": 512},
        tokenizer_config={"pad_token": "[PAD]", "model_max_length": 8},
        special_tokens_map={"cls_token": "[CLS]"},
    )
    return made


def test_texts_are_encoded_as_the_tokenizer_does(bert):
    found = gnp.from_pretrained(bert)
    batch = found.encode(TEXTS)
    assert list(batch) == TEXT_INPUTS
    assert all(array.dtype == np.int64 for array in batch.values())
    ids = [[2, 8, 7, 4, 6, 3], [2, 5, 3, 0, 0, 0], [2, 8, 5, 6, 3, 0]]
    np.testing.assert_array_equal(batch["input_ids"], ids)
    reference = bert_tokenizer()
    reference.enable_padding(pad_id=0, pad_token="[PAD]")
    encoded = reference.encode_batch(TEXTS)
    np.testing.assert_array_equal(batch["input_ids"], [one.ids for one in encoded])
    np.testing.assert_array_equal(batch["attention_mask"], [one.attention_mask for one in encoded])
    np.testing.assert_array_equal(batch["token_type_ids"], [one.type_ids for one in encoded])
    pairs = found.encode([("good", "bad film"), ("bad", "a")])
    np.testing.assert_array_equal(pairs["token_type_ids"], [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]])
    assert found.encode(TEXTS, length=10)["input_ids"].shape == (3, 10)
    # The user's own tokenizer neither pads nor cuts off.
    assert found.tokenizer.padding is None and found.tokenizer.truncation is None


def test_what_is_too_long_is_said(bert):
    found = gnp.from_pretrained(bert)
    texts = ["good " * 20, "bad"]
    with pytest.warns(UserWarning, match="1 of 2 texts have more than 8 tokens and were cut off") as said:
        assert found.encode(texts)["input_ids"].shape == (2, 8)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(found.encode(texts, limit=5)["input_ids"], [[2, 4, 4, 4, 3], [2, 5, 3, 0, 0]])
    write(
        bert, tokenizer_config={"pad_token": "[PAD]", "model_max_length": 1e30}, config={"max_position_embeddings": 6}
    )
    with pytest.warns(UserWarning, match="more than 6 tokens"):
        assert gnp.from_pretrained(bert).encode(texts)["input_ids"].shape == (2, 6)


def test_padding_is_what_and_where_the_tokenizer_has_it(bert):
    write(bert, tokenizer_config={"pad_token": {"content": "[UNK]"}, "padding_side": "left"})
    batch = gnp.from_pretrained(bert).encode(TEXTS[:2])
    np.testing.assert_array_equal(batch["input_ids"], [[2, 8, 7, 4, 6, 3], [1, 1, 1, 2, 5, 3]])
    np.testing.assert_array_equal(batch["attention_mask"], [[1] * 6, [0, 0, 0, 1, 1, 1]])
    write(bert, tokenizer_config={}, config={"pad_token_id": 4})
    np.testing.assert_array_equal(gnp.from_pretrained(bert).encode(TEXTS[:2])["input_ids"][1], [2, 5, 3, 4, 4, 4])
    own = bert_tokenizer()
    own.enable_padding(direction="left", pad_id=1, pad_token="[UNK]", pad_type_id=1)
    own.save(str(bert / "tokenizer.json"))
    batch = gnp.from_pretrained(bert).encode(TEXTS[:2])
    np.testing.assert_array_equal(batch["input_ids"][1], [1, 1, 1, 2, 5, 3])
    np.testing.assert_array_equal(batch["token_type_ids"][1], [1, 1, 1, 0, 0, 0])


def test_nothing_to_pad_with(bert):
    tokenizers = pytest.importorskip("tokenizers")
    write(bert, tokenizer_config={})
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, "a")).save(str(bert / "tokenizer.json"))
    found = gnp.from_pretrained(bert)
    np.testing.assert_array_equal(found.encode(["a", "b"])["input_ids"], [[0], [1]])
    with pytest.raises(gnp.GnpError, match="no token to pad with"):
        found.encode(["a", "b"], length=3)


def test_a_model_of_fixed_length(bert):
    onnx.save(classifier(["input_ids", "attention_mask"], 7), bert / "model.onnx")
    batch = gnp.from_pretrained(bert).encode(TEXTS)
    assert list(batch) == ["input_ids", "attention_mask"] and batch["input_ids"].shape == (3, 7)


def test_bad_encodings(bert):
    found = gnp.from_pretrained(bert)
    for options, says in [
        ({"length": 0}, "length= is a number of tokens, not 0"),
        ({"limit": "long"}, "limit= is a number of tokens, not 'long'"),
        ({"limit": 1}, "a text has 6 tokens, and 1 are asked for"),
        ({"limit": 8, "length": 4}, "a text has 6 tokens, and 4 are asked for"),
    ]:
        with pytest.raises(gnp.GnpError, match=says):
            found.encode(TEXTS, **options)
    onnx.save(classifier(["pixels"]), bert / "model.onnx")
    with pytest.raises(gnp.GnpError, match="it takes pixels"):
        gnp.from_pretrained(bert).encode(TEXTS)
    (bert / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(gnp.GnpError, match=r"model\.onnx is no ONNX model"):
        gnp.from_pretrained(bert).encode(TEXTS)


def test_classes_without_names(bert):
    write(bert, config={"id2label": {"0": "a", "2": "c"}})
    assert gnp.from_pretrained(bert).labels == ["a", "LABEL_1", "c"]
    for bad in ({}, ["a"], {"a": "b"}):
        write(bert, config={"id2label": bad})
        assert gnp.from_pretrained(bert).labels == []


@pytest.mark.parametrize(
    "config, expected",
    [
        ({"size": 224, "image_mean": [0.5] * 3, "image_std": [2] * 3}, (224, 224, 1 / 255, (0.5,) * 3, (2.0,) * 3)),
        ({"size": {"height": 32, "width": 48}, "rescale_factor": 0.5}, (32, 48, 0.5, (0.0,), (1.0,))),
        (
            {"size": {"shortest_edge": 9}, "crop_size": {"height": 8, "width": 7}, "do_center_crop": True},
            (8, 7, 1 / 255, (0.0,), (1.0,)),
        ),
        ({"size": {"shortest_edge": 9}, "crop_size": 8, "do_rescale": False}, (9, 9, 1.0, (0.0,), (1.0,))),
        ({"do_resize": False, "do_normalize": False, "image_mean": [0.5]}, (None, None, 1 / 255, (0.0,), (1.0,))),
    ],
)
def test_what_pictures_are_to_be(bert, config, expected):
    write(bert, preprocessor_config=config)
    found = gnp.from_pretrained(bert)
    assert found.pictures == pretrained.Pictures(*expected) and found.preprocessor == config


def test_other_preprocessors(bert):
    assert gnp.from_pretrained(bert).pictures is None
    write(bert, preprocessor_config={"sampling_rate": 16000, "feature_size": 1})
    assert gnp.from_pretrained(bert).pictures is None
    for bad in ({"size": "large"}, {"size": [1, 2, 3]}, {"size": 3, "image_mean": 1}):
        write(bert, preprocessor_config=bad)
        with pytest.raises(gnp.GnpError, match=r"preprocessor_config\.json"):
            _ = gnp.from_pretrained(bert).pictures


def test_which_of_several_models(tmp_path, caplog):
    web = tmp_path / "web"
    models(web, "onnx/model.onnx", *(f"onnx/model_{kind}.onnx" for kind in ("quantized", "q4f16", "qint8_avx512")))
    with warnings.catch_warnings(), caplog.at_level("INFO", "gnp"):
        warnings.simplefilter("error")
        assert gnp.from_pretrained(web).path == web / "onnx/model.onnx"
    assert "taking onnx/model.onnx; there are also onnx/model_q4f16.onnx" in caplog.text
    # The one that is not called quantised.
    encoder = tmp_path / "encoder"
    models(encoder, "encoder_model.onnx", "encoder_model_fp16.onnx")
    assert gnp.from_pretrained(encoder).path == encoder / "encoder_model.onnx"
    models(encoder, "decoder_model.onnx")
    with pytest.raises(gnp.GnpError, match="several models"):
        gnp.from_pretrained(encoder)
    two = tmp_path / "two"
    models(two, "onnx/model.onnx", "model.onnx")
    with pytest.warns(UserWarning, match=r"taking onnx/model\.onnx rather than model\.onnx") as said:
        assert gnp.from_pretrained(two).path == two / "onnx/model.onnx"
    assert said[0].filename == __file__
    only = tmp_path / "only"
    models(only, "model_int8.onnx")
    with pytest.warns(UserWarning, match=r"the only model is model_int8\.onnx"):
        assert gnp.from_pretrained(only).path == only / "model_int8.onnx"
    for file in ("../only/model_int8.onnx", str(only / "model_int8.onnx")):
        with pytest.raises(gnp.GnpError, match="not in the folder"):
            gnp.from_pretrained(only, file=file)


def test_a_snapshot_of_the_cache(bert, tmp_path):
    """The hub's cache: links from a snapshot to blobs that have no names."""
    cache = tmp_path / "models--some--model"
    snapshot, blobs = cache / "snapshots" / "0123", cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(bert.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(Path("../../blobs") / str(number))
    found = gnp.from_pretrained(snapshot)
    assert found.path == snapshot / "model.onnx" and found.labels == ["bad", "good"]
    written = found.save(tmp_path / "new", classifier(TEXT_INPUTS))
    assert not any(path.is_symlink() for path in written.folder.iterdir())
    with pytest.raises(gnp.GnpError, match="no ONNX model") as raised:
        gnp.from_pretrained(cache)
    assert str(snapshot) in str(raised.value)


@pytest.mark.filterwarnings("ignore:.*the only model is")
def test_what_is_written(bert, tmp_path):
    (bert / "onnx").mkdir()
    (bert / "model.onnx").rename(bert / "onnx/model_fp16.onnx")
    (bert / "vocab.txt").write_text("a")
    write(bert, quantize_config={})
    found = gnp.from_pretrained(bert)
    target = tmp_path / "new/folder"
    target.mkdir(parents=True)
    (target / "config.json").write_text('{"mine": 1}')
    weights = classifier(TEXT_INPUTS)
    written = found.save(target, weights)
    # float32, and so called.
    assert written.path == target / "onnx/model.onnx" and onnx.load(written.path) == weights
    copied = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"}
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert files == copied | {"config.json", "onnx/model.onnx"}
    assert all((target / name).read_bytes() == (bert / name).read_bytes() for name in copied)
    assert written.config == {"mine": 1}
    session = onnxruntime.InferenceSession(written.path, providers=["CPUExecutionProvider"])
    ids = written.encode(TEXTS)["input_ids"]
    feed = {value.name: ids for value in session.get_inputs()}
    words, head = (onnx.numpy_helper.to_array(tensor) for tensor in weights.graph.initializer[:2])
    np.testing.assert_allclose(session.run(None, feed)[0], words[ids].mean(1) @ head, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_written(bert, tmp_path):
    found = gnp.from_pretrained(bert)
    step = gnp.rewrite(bert / "model.onnx", loss="cross-entropy")
    (tmp_path / "file").write_text("mine")
    for model, folder, says in [
        (step, "new", "a step model, which holds where training starts"),
        (3, "new", "a model is a path, bytes"),
        (b"nothing", "new", "no ONNX model"),
        (tmp_path / "none.onnx", "new", "cannot read the model"),
        (classifier(["input_ids"]), "file", "cannot write it"),
    ]:
        with pytest.raises(gnp.GnpError, match=says):
            found.save(tmp_path / folder, model)
    assert not (tmp_path / "new").exists() and (tmp_path / "file").read_text() == "mine"


def held(model):
    """What the constants of a model hold."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}


def test_large_models_are_two_files(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(_messages, "LARGEST", 0)
    monkeypatch.setattr(pretrained.writing, "_SMALL", 0)
    found = gnp.from_pretrained(bert)
    given = classifier(TEXT_INPUTS)
    before = given.SerializeToString()
    written = found.save(tmp_path / "new", given)
    assert given.SerializeToString() == before
    assert (written.folder / "model.onnx_data").stat().st_size > 0
    assert held(onnx.load(written.path)) == held(given)
    # The file of such a model is taken with its weights; the message without them is not.
    again = found.save(tmp_path / "again", written.path)
    assert held(onnx.load(again.path)) == held(given)
    with pytest.raises(gnp.GnpError, match="weights are in files beside the model"):
        found.save(tmp_path / "bare", onnx.load(written.path, load_external_data=False))
