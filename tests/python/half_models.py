"""Trains models of float32 and of float16 alike, and runs what is written in ONNX Runtime.

Called with the paths of gnp-rewrite and gnp-run, of the folder of example models, and of a folder to write to. For each
model: the run of the float16 file has the losses of the float32 one, the trained file is a float16 model that ONNX
Runtime loads, and it computes on the test data what the run measured.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

REWRITE, RUN, MODELS, FOLDER = (Path(argument) for argument in sys.argv[1:])
HALF = TensorProto.FLOAT16


def to_half(model, keep_io):
    """The model in float16; with `keep_io` its inputs and outputs are float32, behind Casts."""
    graph = model.graph
    for i, tensor in enumerate(graph.initializer):
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float16)
            # One tensor as other writers have them: each element in a field of its own.
            if i == 0:
                made = helper.make_tensor(tensor.name, HALF, array.shape, array.ravel())
                assert made.int32_data
            else:
                made = numpy_helper.from_array(array, tensor.name)
            tensor.CopyFrom(made)
    if not keep_io:
        for info in [*graph.input, *graph.output]:
            info.type.tensor_type.elem_type = HALF
        return model
    (given,), (returned,) = graph.input, graph.output
    for node in graph.node:
        node.input[:] = [f"{name}.half" if name == given.name else name for name in node.input]
        node.output[:] = [f"{name}.half" if name == returned.name else name for name in node.output]
    before = helper.make_node("Cast", [given.name], [f"{given.name}.half"], to=HALF)
    after = helper.make_node("Cast", [f"{returned.name}.half"], [returned.name], to=TensorProto.FLOAT)
    nodes = [before, *graph.node, after]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def trained(name, model, data, rate):
    """What a rewrite says, the measures of a run, and the file that it writes."""
    folder = FOLDER / name
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    options = ["--loss", "cross-entropy", "--dropout", "off"]
    command = [REWRITE, folder / "model.onnx", "-o", folder / "step.onnx", *options]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    arguments = ["--data", data, "--divisor", "16", "--seed", "3", "--lr", rate, "--epochs", "2", "--quiet"]
    subprocess.run([RUN, folder / "step.onnx", *arguments, "--out", folder / "run"], check=True)
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return said.stdout + said.stderr, lines, folder / "run/model.onnx"


def logits(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shape = [len(images), *(size for size in given.shape[1:])]
    kind = {"tensor(float16)": np.float16, "tensor(float)": np.float32}[given.type]
    return session.run(None, {given.name: images.reshape(shape).astype(kind)})[0].astype(np.float64)


def mean_loss(scores, labels):
    scores = scores - scores.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(labels)), labels])


def digits(size):
    """The digits as images of `size` pixels, and the path of a file that has them."""
    arrays = dict(np.load(MODELS / "digits.npz"))
    for part in ("x_train", "x_test"):
        factor = size // 8
        images = arrays[part].repeat(factor, axis=1).repeat(factor, axis=2)
        margin = (size - 8 * factor) // 2
        arrays[part] = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))
    path = FOLDER / f"digits{size}.npz"
    np.savez(path, **arrays)
    return arrays["x_test"].astype(np.float32) / 16, arrays["y_test"], path


def check(name, size, rate):
    images, labels, data = digits(size)
    _, expected, _ = trained(f"{name}-float32", onnx.load(MODELS / name / "model.onnx"), data, rate)
    for keep_io in (False, True):
        half = to_half(onnx.load(MODELS / name / "model.onnx"), keep_io)
        said, measured, path = trained(f"{name}-{keep_io}", half, data, rate)
        assert "the model computes in float16: it trains in float32" in said, said
        # The weights begin half a unit in the last of eleven places apart.
        for a, b in zip(measured, expected, strict=True):
            for key in {"loss", "test_loss"} & a.keys():
                assert abs(a[key] - b[key]) < 0.02, (name, keep_io, a, b)
        written = onnx.load(path)
        kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
        assert {tensor.name: tensor.data_type for tensor in written.graph.initializer} == kinds
        assert HALF in kinds.values() and TensorProto.FLOAT not in kinds.values()
        before = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
        assert any((numpy_helper.to_array(tensor) != before[tensor.name]).any() for tensor in written.graph.initializer)
        scores = logits(path, images)
        loss, error = mean_loss(scores, labels), np.mean(scores.argmax(axis=1) != labels)
        last = [line for line in measured if "test_loss" in line][-1]
        assert abs(loss - last["test_loss"]) < 2e-3 and abs(error - last["test_error"]) < 3e-3, (loss, error, last)
        by_the_run = f"by the run {last['test_loss']:.5f}, {last['test_error']:.4f}"
        print(f"{name}: loss {loss:.5f}, error {error:.4f}; {by_the_run}")


check("mlp", 8, "0.05")
check("cnn", 28, "0.01")
check("vit", 8, "0.005")
