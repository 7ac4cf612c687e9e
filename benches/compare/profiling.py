"""Where the time of a step goes, and what it moves, by operator: what `gnp-run --profile` records."""

import json
from collections import defaultdict
from dataclasses import dataclass

# What ONNX Runtime does without touching an element.
FREE = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
# The nodes of their bodies have events of their own.
WITH_BODIES = {"If", "Loop", "Scan"}
# gnp's kernels: those of functions have numbered names. A MatMul is taken for gnp's, which nearly all are.
FUNCTIONS = (
    "Elementwise",
    "Reduce",
    "ConvGradWeight",
    "ConvGradInput",
    "MaxPoolGrad",
    "LayerNormGrad",
    "ConvWeights",
    "LayerNorm",
    "MatMul",
)
# Runs that warm up, the rehearsal among them.
WARM_UP = 3


@dataclass
class Spent:
    """What the nodes of one operator take in a step."""

    nodes: float = 0
    milliseconds: float = 0
    megabytes: float = 0


def read(trace):
    """A step's time and bytes by operator. A node reads its inputs once and writes its outputs once."""
    events = json.loads(trace.read_text())
    runs = sorted((event for event in events if event["name"] == "model_run"), key=lambda run: run["ts"])[WARM_UP:]
    begin, end = runs[0]["ts"], runs[-1]["ts"] + runs[-1]["dur"]
    operators = defaultdict(Spent)
    for event in events:
        args = event.get("args", {})
        is_node = event["name"].endswith("_kernel_time") and begin <= event["ts"] <= end
        if is_node and args["op_name"] not in WITH_BODIES:
            kind = args["op_name"].rpartition("_")[0] or args["op_name"]
            spent = operators[f"gnp.{kind}" if kind in FUNCTIONS else args["op_name"]]
            spent.nodes += 1 / len(runs)
            spent.milliseconds += event["dur"] / 1e3 / len(runs)
            if args["op_name"] not in FREE:
                moved = sum(int(args[size]) for size in ["activation_size", "parameter_size", "output_size"])
                spent.megabytes += moved / 1e6 / len(runs)
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
