"""Compares gradients with those that ONNX Runtime's training API makes of the same models.

    python ../torch_stand_in.py ort_training.py FOLDER OPERATORS

builds, for every case in FOLDER of an operator listed in the file OPERATORS, the gradient of `CASE.float.onnx` with the gradient
builder of ONNX Runtime 1.19.2, the one behind `onnxruntime.training.artifacts.generate_artifacts`, runs it there, and compares it
with `CASE.gradients.npz`, which `differences.py` left. Prints one line of JSON a case: the case, and the relative
`distance`, or what the builder or the runtime said, `refused`.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi._pybind_state import GradientGraphBuilder, get_optimized_model

# Outputs that the gradient builder asks for, whether the model uses them or not.
OUTPUTS = {"LayerNormalization": 3, "SoftmaxCrossEntropyLoss": 2, "MaxPool": 2, "Dropout": 2}

# The newest operator set that version 1.19.2 has gradients for.
NEWEST = 21


def as_old(model):
    """Declares the operator set and the file format that 1.19.2 reads."""
    for opset in model.opset_import:
        if opset.domain == "":
            opset.version = min(opset.version, NEWEST)
    model.ir_version = 8
    for node in model.graph.node:
        missing = range(len(node.output), OUTPUTS.get(node.op_type, 0))
        node.output.extend(f"{node.output[0]}/output{i}" for i in missing)
    onnx.checker.check_model(model)
    return model


def with_gradient(model, wrt):
    loss = model.graph.output[0].name
    serialized = model.SerializeToString()
    serialized = get_optimized_model(serialized, set(wrt), onnxruntime.SessionOptions())
    builder = GradientGraphBuilder(serialized, {loss}, set(wrt), loss, onnxruntime.SessionOptions())
    builder.build()
    return builder.get_model()


def run(serialized, wrt, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    made = {o.name for o in session.get_outputs()}
    wanted = [n for n in wrt if f"{n}_grad" in made]
    feed = {n: np.asarray(v).astype(np.float32) for n, v in x.items() if n in names}
    found = dict(zip(wanted, session.run([f"{n}_grad" for n in wanted], feed)))
    return {n: np.asarray(found.get(n, np.zeros_like(x[n])), np.float64) for n in wrt}


def distance(a, b):
    """The largest distance of an input's gradients, relative to its size and to a thousandth of the largest."""
    norms = {n: np.linalg.norm(v) for n, v in b.items()}
    floor = 1e-3 * max(norms.values())
    return max(float(np.linalg.norm(a[n] - b[n]) / (max(norms[n], floor) or 1.0)) for n in b)


def compare(folder, entry):
    case, wrt = entry["case"], entry["wrt"]
    arrays = np.load(folder / f"{case}.npz")
    x = {n: arrays[f"x:{n}"] for n in wrt}
    ours = dict(np.load(folder / f"{case}.gradients.npz"))
    model = as_old(onnx.load(folder / f"{case}.float.onnx"))
    try:
        gradient = with_gradient(model, wrt)
    except Exception:  # noqa: BLE001
        if len(wrt) == 1:
            raise
        # Some have a gradient with respect to the first input alone.
        wrt, ours = wrt[:1], {wrt[0]: ours[wrt[0]]}
        gradient = with_gradient(model, wrt)
    theirs = run(gradient, wrt, x)
    for n in wrt:
        if theirs[n].shape != ours[n].shape:
            return {"refused": f"the gradient of {n} has shape {theirs[n].shape}, the input {ours[n].shape}"}
    return {"distance": distance(theirs, ours)}


def said(problem):
    """What the runtime says, without the place in its source."""
    line = (str(problem).strip().splitlines() or ["?"])[0]
    return re.split(r"\[ONNXRuntimeError\] : \d+ : |> ", line)[-1][:200]


def main(folder, operators):
    onnxruntime.set_default_logger_severity(4)
    folder = Path(folder)
    lines = (line.split("#")[0] for line in Path(operators).read_text().splitlines())
    operators = {name for line in lines for name in line.split()}
    for entry in json.loads((folder / "cases.json").read_text()):
        usable = entry["operator"] in operators and not entry.get("singular") and not entry.get("random")
        if usable and (folder / f"{entry['case']}.gradients.npz").exists():
            try:
                result = compare(folder, entry)
            except Exception as problem:  # noqa: BLE001: whatever the runtime says
                result = {"refused": said(problem)}
            print(json.dumps({"case": entry["case"], **result}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
