"""How far steps in half precision are from those in single, as onnx.reference, the standard's own evaluator, computes them.

Arguments: the step model in float32, then those in half precision. The batch is drawn from the inputs' shapes, with 4 in
place of sizes that are open. Prints a line of JSON for each of the latter: how far apart the losses are, in parts of
the loss, and the changes of the parameters, as ‖Δ − Δ₃₂‖/‖Δ₃₂‖; and the number of values of each type.
"""

import json
import sys

import numpy as np
import onnx
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator


def step(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    pairs = json.loads(next(p.value for p in model.metadata_props if p.key == "gnp.state"))
    before = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    rng, batch = np.random.default_rng(0), {}
    for value in model.graph.input:
        if value.name in before:
            continue
        shape = [d.dim_value or 4 for d in value.type.tensor_type.shape.dim]
        whole = value.type.tensor_type.elem_type == TensorProto.INT64
        batch[value.name] = rng.integers(0, 10, shape) if whole else rng.random(shape, np.float32)
    names = [output.name for output in model.graph.output]
    returned = dict(zip(names, ReferenceEvaluator(model).run(None, batch)))
    floats = [(a, b) for a, b in pairs if before[a].dtype == np.float32 and not a.startswith("gnp.")]
    change = np.concatenate([(returned[b] - before[a]).ravel().astype(np.float64) for a, b in floats])
    return float(returned["loss"]), change, returned.get("gnp.skipped")


def casts(path, element):
    nodes = list(onnx.load(path).graph.node)
    for node in nodes:
        nodes.extend(n for a in node.attribute for n in a.g.node)
    return sum(n.op_type == "Cast" and onnx.helper.get_node_attr_value(n, "to") == element for n in nodes)


loss, change, _ = step(sys.argv[1])
for path in sys.argv[2:]:
    found, moved, skipped = step(path)
    print(
        json.dumps(
            {
                "loss": abs(found - loss) / abs(loss),
                "change": float(np.linalg.norm(moved - change) / np.linalg.norm(change)),
                "skipped": None if skipped is None else float(skipped),
                "casts": casts(path, TensorProto.FLOAT16) + casts(path, TensorProto.BFLOAT16),
            }
        )
    )
