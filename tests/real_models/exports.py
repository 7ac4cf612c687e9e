"""Whether gnp-rewrite trains the parameters of a network, whichever way PyTorch exported it.

    pip install -r tests/real_models/requirements.txt
    python tests/real_models/exports.py                     (every network; some minutes)
    python tests/real_models/exports.py 'vit*' resnet18     (those of these names)
    python tests/real_models/exports.py --write             (and the table goes into docs/exporting.md)

Each network is exported by either exporter in its two ways, freshly made and after its parameters have moved, in eval and in train mode.
What trains must have the elements of `named_parameters()`, each once. Where it has not, the report must say so: constants that stand in
for parameters have a reason of their own, and a warning says what was lost. Exit code 1 where something differs and nothing says so.
"""

import argparse
import contextlib
import fnmatch
import hashlib
import io
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import torch

import page
from networks import NETWORKS

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

DYNAMO, TRACED = {"dynamo": True, "external_data": False, "verbose": False}, {"dynamo": False, "opset_version": 17}
TRAINING = {"do_constant_folding": False, "training": torch.onnx.TrainingMode.TRAINING}
# The columns: what export() is told, and the modes of the module.
WAYS = {
    "`optimize=False`": (DYNAMO | {"optimize": False}, ["train"]),
    "by default": (DYNAMO, ["eval", "train"]),
    "TorchScript, for training": (TRACED | TRAINING, ["train"]),
    "TorchScript, by default": (TRACED, ["eval"]),
}
# What the report says of constants that stand in for parameters, and of parameters that are in no constant.
STAND_IN = ("folded another layer", "computed by the exporter")
SAID = ("the exporter folded", "computed from parameters", "the exporter computed", "not in the file", "a guess")


def made(make, moved):
    """The network: as it is when it is made, or as it could be after some training."""
    torch.manual_seed(0)
    module = make()
    if moved:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
            for name, buffer in module.named_buffers():
                if name.endswith("running_mean"):
                    buffer.add_(torch.randn_like(buffer) * 0.1)
                if name.endswith("running_var"):
                    buffer.mul_(torch.rand_like(buffer) + 0.5)
    return module


def export(module, x, file, options):
    if options["dynamo"]:
        batch = {"dynamic_shapes": ({0: torch.export.Dim("N")},)}
    else:
        batch = {"dynamic_axes": {"x": {0: "N"}, "logits": {0: "N"}}}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(module, (x,), str(file), input_names=["x"], output_names=["logits"], **batch, **options)


def elements(array):
    """What tells a tensor's elements, whatever their order: weights may be transposed."""
    return hashlib.sha256(np.sort(np.asarray(array, np.float32), None).tobytes()).hexdigest()


class Difference(Exception):
    """What trains is not what it should be, and nothing says so."""


def compare(gnp, file, parameters):
    """How what trains differs from the parameters: nothing, or how many there are of each that the report tells of."""
    step = file.with_suffix(".step.onnx")
    command = [gnp, file, "-o", step, "--force", "--loss", "mse", "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise Difference(run.stderr)
    report = json.loads(run.stdout)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(step).graph.initializer}
    step.unlink()
    reasons = {verdict["name"]: verdict["reason"] for verdict in report["constants"]}
    wanted = Counter(elements(parameter.detach()) for parameter in parameters.values())
    extra = []
    for name in report["parameters"]:
        key = elements(constants[name])
        if wanted[key]:
            wanted[key] -= 1
        else:
            extra.append(name)
    missing = sum(wanted.values())
    for name in extra:
        if not any(reason in reasons[name] for reason in STAND_IN):
            raise Difference(f"`{name}` ({reasons[name]}) trains and is no parameter")
    if missing and not any(said in warning for warning in report["warnings"] for said in SAID):
        raise Difference(f"{missing} parameters do not train, and no warning says so")
    return missing, len(extra)


def cell(outcomes, count):
    """The outcomes of one column in words. `outcomes`: a difference for each state of the network."""
    if set(outcomes.values()) == {(0, 0)}:
        return f"all {count}"
    worst = {}
    for (_, mode), (missing, extra) in outcomes.items():
        worst[mode] = max(worst.get(mode, (0, 0)), (missing, extra))
    if len(set(worst.values())) == 1:
        worst = {"": worst.popitem()[1]}
    said = [f"{count - missing}" + (f", and {extra} computed" if extra else "") + (f" ({mode})" if mode else "") for mode, (missing, extra) in worst.items()]
    return "; ".join(said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["*"], help="names, or globs of them")
    parser.add_argument("--gnp", default=page.PROJECT / "target/release/gnp-rewrite", help="the program; target/release/gnp-rewrite")
    parser.add_argument("--write", action="store_true", help="put the table into docs/exporting.md")
    arguments = parser.parse_args()
    chosen = [name for name in NETWORKS if any(fnmatch.fnmatch(name, glob) for glob in arguments.networks)]
    lines = ["| network | " + " | ".join(WAYS) + " |\n", "| --- " * (len(WAYS) + 1) + "|\n"]
    failed = False
    print("".join(lines), end="", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            make, x = NETWORKS[name]
            cells = []
            for way, (options, modes) in WAYS.items():
                outcomes, differs = {}, False
                for moved in (False, True):
                    for mode in modes:
                        module = made(make, moved).train(mode == "train")
                        state, file = ("moved" if moved else "fresh", mode), Path(folder, "model.onnx")
                        try:
                            export(module, x(), file, options)
                        except Exception as error:
                            print(f"{name}, {way}, {state}: not exported: {str(error).splitlines()[0]}", file=sys.stderr)
                            continue
                        try:
                            outcomes[state] = compare(arguments.gnp, file, dict(module.named_parameters()))
                        except Difference as difference:
                            failed = differs = True
                            print(f"{name}, {way}, {state}: {difference}", file=sys.stderr)
                count = sum(1 for _ in module.parameters())
                cells.append(cell(outcomes, count) if outcomes else "differs" if differs else "not exported")
            lines.append(f"| {name} | " + " | ".join(cells) + " |\n")
            print(lines[-1], end="", flush=True)
    if arguments.write:
        page.write(__file__, lines)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
