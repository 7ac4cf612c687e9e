"""Trains a step model for some steps in a loop over a session of ONNX Runtime.

python kernels.py STEP [LIBRARY]    prints the losses, a line each; LIBRARY holds gnp's kernels
"""

import json
import sys

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
if len(sys.argv) > 2:
    options.register_custom_ops_library(sys.argv[2])
step = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
pairs = json.loads(step.get_modelmeta().custom_metadata_map["gnp.state"])
outputs, state = [output.name for output in step.get_outputs()], {}
rng = np.random.default_rng(0)
for _ in range(10):
    x, y = rng.normal(size=(16, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 16)
    after = dict(zip(outputs, step.run(None, {"input": x, "labels": y, "lr": np.array(0.01, np.float32)} | state)))
    state = {name: after[following] for name, following in pairs}
    print(after["loss"])
