"""Step models for the tests: made by the program, run by onnxruntime."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from programs import program


class Step:
    """What `gnp-rewrite` makes of a model."""

    def __init__(self, model: onnx.ModelProto | Path, folder: Path, *options: str) -> None:
        path = model if isinstance(model, Path) else folder / "model.onnx"
        if not isinstance(model, Path):
            onnx.save(model, path)
        self.path = folder / "step.onnx"
        command = [program("gnp-rewrite"), path, "-o", self.path, "--force", "--json", *options]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        self.report: dict[str, Any] = json.loads(run.stdout)
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(self.path, settings, providers=["CPUExecutionProvider"])
        self.pairs = json.loads(self.session.get_modelmeta().custom_metadata_map["gnp.state"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def state(self) -> dict[str, np.ndarray]:
        """Where training starts."""
        names = {name for name, _ in self.pairs}
        constants = onnx.load(self.path).graph.initializer
        return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in constants if tensor.name in names}

    def step(self, batch: dict[str, np.ndarray], lr: float, **others: np.ndarray) -> dict[str, np.ndarray]:
        """One step: outputs by name, and the next state under `state`."""
        feed = {**batch, "lr": np.array(lr, np.float32), **others}
        after = dict(zip(self.outputs, self.session.run(None, feed)))
        return after | {"state": {name: after[following] for name, following in self.pairs}}
