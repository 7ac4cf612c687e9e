"""Trains a step model with stock ONNX Runtime: python train_loop.py step.onnx data.npz

The archive has x_train and y_train; the step model's data input is called `input`.
"""

import json
import sys

import numpy as np
import onnxruntime

step = onnxruntime.InferenceSession(sys.argv[1])
pairs = json.loads(step.get_modelmeta().custom_metadata_map["gnp.state"])
outputs = [output.name for output in step.get_outputs()]
data = np.load(sys.argv[2])
x, y = data["x_train"], data["y_train"]
state = {}
for epoch in range(3):
    for i in range(0, len(x) - 31, 32):
        batch = {"input": x[i : i + 32], "labels": y[i : i + 32], "lr": np.array(0.05, np.float32)}
        after = dict(zip(outputs, step.run(None, batch | state)))
        state = {name: after[following] for name, following in pairs}
    print(epoch, after["loss"])
