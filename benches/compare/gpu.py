"""What a step does to a GPU: how long it is busy, and how many kernels are launched, by PyTorch's profiler.

The profiler sees every kernel of its process, those of ONNX Runtime too.
"""

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

import pytorch
import workload
from step_model import StepModel


def measure(name, step_model):
    """Yields engine, kind, milliseconds that the GPU is busy in a step, and launches in it."""
    model = StepModel(step_model, 1, workload.batch(name, "cuda"), "cuda")
    engines = {"gnp": {"plain": lambda: model.step(0.0), "GNP": lambda: model.step(pytorch.R)}}
    for channels_last in [False, True]:
        for compiled in [False, True]:
            engine = "PyTorch" + ", channels_last" * channels_last + ", compiled" * compiled
            engines[engine] = pytorch.steps(name, 1, "cuda", channels_last, compiled)
    for engine, kinds in engines.items():
        for kind, step in kinds.items():
            yield engine, kind, *_profile(step)


def _profile(step, warm_up=5, steps=5):
    for _ in range(warm_up):
        step()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as profile:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
    launched = [event for event in profile.events() if event.device_type == DeviceType.CUDA]
    return sum(event.time_range.elapsed_us() for event in launched) / 1e3 / steps, len(launched) / steps
