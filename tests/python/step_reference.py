"""Steps a step model with onnx.reference, the standard's own evaluator.

Reads {"model": path, "steps": [{input: [shape, element type, values]}]} from standard input; writes the state after the
last step in the same form.
"""

import json
import sys

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

task = json.load(sys.stdin)
model = onnx.load(task["model"])
onnx.checker.check_model(model, full_check=True)
pairs = json.loads(next(p.value for p in model.metadata_props if p.key == "gnp.state"))
state = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
inputs = {i.name for i in model.graph.input}
state = {name: value for name, value in state.items() if name in inputs}

session = ReferenceEvaluator(model)
names = [output.name for output in model.graph.output]
for step in task["steps"]:
    given = {name: np.array(values, dtype=element).reshape(shape) for name, (shape, element, values) in step.items()}
    returned = dict(zip(names, session.run(None, {**state, **given})))
    state |= {name: returned[after] for name, after in pairs}

print(
    json.dumps({name: [state[name].shape, str(state[name].dtype), state[name].ravel().tolist()] for name, _ in pairs})
)
