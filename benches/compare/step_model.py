"""A step model in the hands of Python: ONNX Runtime with the state bound, as gnp-run has it."""

import json

import numpy as np
import onnxruntime as ort


class StepModel:
    """A step model on ONNX Runtime; each step starts from the state that the one before left."""

    def __init__(self, path, threads, batch, device="cpu"):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        providers = ["CUDAExecutionProvider"] if device == "cuda" else []
        self.session = ort.InferenceSession(path, options, providers=[*providers, "CPUExecutionProvider"])
        self.device = device
        self.pairs = json.loads(self.session.get_modelmeta().custom_metadata_map["gnp.state"])
        self.state = {}
        self.batch = {name: ort.OrtValue.ortvalue_from_numpy(value, device) for name, value in zip(["input", "labels"], batch)}
        self.results = [output.name for output in self.session.get_outputs() if not output.name.endswith(".next")]
        self.values = {}

    def step(self, r):
        """Takes a step with the radius `r`, 0 for a plain one."""
        binding = self.session.io_binding()
        # What has an initializer can be bound as an OrtValue alone.
        radius = ort.OrtValue.ortvalue_from_numpy(np.array(r, np.float32))
        for name, value in {**self.batch, **self.state, "gnp.r": radius}.items():
            binding.bind_ortvalue_input(name, value)
        state = [after for _, after in self.pairs]
        for name in self.results:
            binding.bind_output(name)
        for name in state:
            binding.bind_output(name, self.device)
        self.session.run_with_iobinding(binding)
        self.values = dict(zip(self.results + state, binding.get_outputs()))
        self.state = {before: self.values[after] for before, after in self.pairs}
