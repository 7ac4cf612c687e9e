"""Where the time of a step goes, and what it moves, by operator: ONNX Runtime's profile of a step model."""

import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from step_model import StepModel

# What ONNX Runtime does without touching an element.
FREE = {"Flatten", "Identity", "If", "Reshape", "Squeeze", "Unsqueeze"}


@dataclass
class Spent:
    """What the nodes of one operator take in a step."""

    nodes: float = 0
    milliseconds: float = 0
    megabytes: float = 0


def profile(path, batch, r, threads, kernels=None, steps=4):
    """A step's time and bytes by operator. A node reads its inputs once and writes its outputs once."""
    with tempfile.TemporaryDirectory() as folder:
        model = StepModel(path, threads, batch, profile=Path(folder, "profile"), kernels=kernels)
        for _ in range(2 + steps):
            model.step(r)
        events = json.loads(Path(model.session.end_profiling()).read_text())
    nodes = [event for event in events if event["name"].endswith("_kernel_time")]
    # The first two steps warm up; a step is as many events as the next.
    nodes = nodes[2 * len(nodes) // (2 + steps) :]
    operators = defaultdict(Spent)
    for event in nodes:
        args = event["args"]
        # An If takes the time of its branch, whose nodes have events of their own.
        if args["op_name"] != "If":
            spent = operators[args["op_name"]]
            spent.nodes += 1 / steps
            spent.milliseconds += event["dur"] / 1e3 / steps
            if args["op_name"] not in FREE:
                moved = sum(int(args[size]) for size in ["activation_size", "parameter_size", "output_size"])
                spent.megabytes += moved / 1e6 / steps
    return operators


def total(operators):
    """What all nodes of a step take."""
    return Spent(*(sum(getattr(spent, field) for spent in operators.values()) for field in ("nodes", "milliseconds", "megabytes")))


def ranked(operators, top):
    """The operators that take the most time, with their shares of it."""
    whole = total(operators).milliseconds
    first = sorted(operators.items(), key=lambda item: -item[1].milliseconds)[:top]
    return [(name, spent, spent.milliseconds / whole) for name, spent in first]


def lines(operators, top=14):
    """The operators that take the most time, as lines of text, and the sum over all."""
    yield f"{'operator':24}{'nodes':>7}{'ms':>9}{'share':>8}{'MB':>9}"
    for name, spent, share in [*ranked(operators, top), ("all", total(operators), 1)]:
        yield f"{name:24}{spent.nodes:7.0f}{spent.milliseconds:9.1f}{share:8.1%}{spent.megabytes:9.0f}"
