"""Compares gradients with central differences, in random directions.

    python differences.py FOLDER [SHARD/SHARDS]

reads what `cases.py` wrote into FOLDER and, for every model `CASE.KIND.onnx`, the model `CASE.KIND.gradient.onnx` whose outputs
`gradient:INPUT` are to be checked; an input without such an output has a gradient of zero. Prints one line of JSON a case:

    case, engine, precision     what it ran on: `ort` or `reference`; `double`, or `float` where there are no kernels for doubles
    error                       the worst relative error of a directional derivative
    float, dynamic              the relative error of that kind's gradient, on ONNX Runtime in float32, to the checked one
    failures                    what went wrong, by kind

and leaves the gradients in `CASE.gradients.npz`.

The difference is Σ w∘(y(x + h·v) − y(x − h·v))/2h, extrapolated to h → 0 from two steps each (Richardson), for several h, of
which the one counts that agrees best with its neighbour: small steps round off, large ones meet kinks.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx

from cases import first_line
from engines import OnnxRuntime, Reference

STEPS = {"double": [8.0**-k for k in (2, 3, 4, 5, 6, 7)], "float": [2.0**-k for k in range(1, 11)]}
TOLERANCE = {"double": 1e-6, "float": 1e-3}
DIRECTIONS = 2

# The reference implementation loops in Python: outputs of more elements are left to float kernels.
REFERENCE_LIMIT = 20_000


class Function:
    """A model as a function. One that draws random numbers is loaded anew for every evaluation: it has its own seed."""

    def __init__(self, engine, model, outputs, fresh):
        self.make = lambda: engine(model, outputs)
        self.fresh = fresh
        self.loaded = self.make()

    def __call__(self, x):
        if self.fresh:
            self.loaded = self.make()
        return self.loaded.run(x)


def load_model(folder, case, kind, suffix=""):
    path = folder / f"{case}.{kind}{suffix}.onnx"
    return onnx.load(path) if path.exists() else None


def refuse_float(y, x):
    """Fails where a kernel for doubles computes in float: what it makes of numbers that are none of float is one."""
    values = y({n: a * (1 + 1e-9) + 1e-9 for n, a in x.items()})
    fractions = np.concatenate([np.ravel(v) for v in values])
    fractions = fractions[np.isfinite(fractions) & (fractions % 1 != 0)]
    if fractions.size and np.array_equal(fractions, fractions.astype(np.float32)):
        raise ValueError("its kernel for doubles computes in float")


def compare_outputs(values, model, outputs, x):
    """Fails where ONNX Runtime makes something else in float of the model: the reference implementation has its faults, too."""
    try:
        in_float = OnnxRuntime(model, outputs).run(x)
    except Exception:  # noqa: BLE001: it has no kernel
        return
    if not all(np.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(values, in_float)):
        raise ValueError("the reference implementation differs from ONNX Runtime")


def gradients(engine, model, entry, x):
    """The gradient with respect to each differentiated input."""
    prefix = "gradient:"
    names = [o.name for o in model.graph.output if o.name.startswith(prefix)]
    values = Function(engine, model, names, fresh=False)(x) if names else []
    found = {name[len(prefix) :]: value for name, value in zip(names, values)}
    for name in entry["wrt"]:
        gradient = found.setdefault(name, np.zeros_like(x[name]))
        if gradient.shape != x[name].shape:
            raise ValueError(f"the gradient of {name} has shape {gradient.shape}, the input {x[name].shape}")
        if not entry["singular"] and not np.isfinite(gradient).all():
            raise ValueError(f"the gradient of {name} is not finite")
    return found


def weighted(w, v):
    """Σ w∘v over what w is not 0 of."""
    return float(np.sum(w[w != 0] * v[w != 0]))


def derivative(y, x, w, v, steps):
    """The derivative of Σ w∘y at x in the direction v."""
    differences = []
    for h in steps:
        ahead, behind = (y({n: a + s * h * v[n] if n in v else a for n, a in x.items()}) for s in (1.0, -1.0))
        differences.append(sum(weighted(c, a - b) for c, a, b in zip(w, ahead, behind)) / (2 * h))
    ratio = (steps[0] / steps[1]) ** 2
    extrapolated = [(ratio * b - a) / (ratio - 1) for a, b in zip(differences, differences[1:])]
    spread = [abs(a - b) for a, b in zip(extrapolated, extrapolated[1:])]
    return extrapolated[int(np.argmin(spread)) + 1]


def worst_error(y, x, w, found, wrt, steps):
    """The largest relative error over random directions: in one input alone, and in all together."""
    random = np.random.default_rng(5)
    scale = sum(weighted(np.abs(c), 1e-3 * np.abs(v) + 1e-6) for c, v in zip(w, y(x)))
    worst = 0.0
    for names in [[n] for n in wrt for _ in range(DIRECTIONS)] + ([wrt] if len(wrt) > 1 else []):
        v = {n: random.uniform(-1.0, 1.0, x[n].shape) for n in names}
        expected = derivative(y, x, w, v, steps)
        given = sum(float(np.sum(found[n] * v[n])) for n in names)
        size = max(abs(expected), abs(given), scale)
        error = 0.0 if size == 0 else abs(expected - given) / size
        worst = max(worst, error if np.isfinite(error) else float("inf"))
    return worst


def distance(a, b):
    """The largest relative distance between the gradients of an input; what is not finite must be the same in both."""
    for n in b:
        known = np.isfinite(b[n])
        if not np.array_equal(a[n][~known], b[n][~known], equal_nan=True):
            return float("inf")
    a, b = ({n: np.where(np.isfinite(b[n]), v[n], 0.0) for n in b} for v in (a, b))
    norms = {n: np.linalg.norm(b[n]) for n in b}
    floor = 1e-3 * max(norms.values(), default=0.0)
    return max(
        (float(np.linalg.norm(a[n] - b[n]) / max(norms[n], floor)) for n in b if max(norms[n], floor) > 0), default=0.0
    )


def check(folder, entry):
    case = entry["case"]
    arrays = np.load(folder / f"{case}.npz")
    inputs = {n[2:]: arrays[n] for n in arrays.files if n.startswith("x:")}
    w = [arrays[f"w:{n}"] for n in entry["outputs"]]
    x = {n: inputs[n] for n in entry["wrt"]}
    result, failures, found = {"case": case}, {}, None

    # In double precision on ONNX Runtime, else by the reference implementation, else in float.
    for precision, engine in (("double", OnnxRuntime), ("double", Reference), ("float", OnnxRuntime)):
        model, gradient = load_model(folder, case, precision), load_model(folder, case, precision, ".gradient")
        if gradient is None or (engine is Reference and sum(c.size for c in w) > REFERENCE_LIMIT):
            continue
        try:
            if entry["singular"]:
                expected = {n[9:]: arrays[n] for n in arrays.files if n.startswith("expected:")}
                found = gradients(engine, gradient, entry, x)
                result.update(engine=engine.name, precision=precision, error=distance(found, expected))
                break
            y = Function(engine, model, entry["outputs"], entry["random"])
            found = gradients(engine, gradient, entry, x)
            if precision == "double" and any(gradient.any() for gradient in found.values()):
                refuse_float(y, x)
            if engine is Reference:
                compare_outputs(y(x), load_model(folder, case, "float"), entry["outputs"], x)
            error = worst_error(y, x, w, found, entry["wrt"], STEPS[precision])
        except Exception as problem:  # noqa: BLE001: whatever an engine says
            failures[f"{precision} on {engine.name}"] = first_line(problem)
            found = None
            continue
        result.update(engine=engine.name, precision=precision, error=error)
        break

    if found is not None:
        np.savez(folder / f"{case}.gradients.npz", **found)

    # On stock ONNX Runtime in float32, with shapes known and unknown.
    for kind in ("float", "dynamic"):
        gradient = load_model(folder, case, kind, ".gradient")
        if gradient is not None and found is not None:
            try:
                given = gradients(OnnxRuntime, gradient, entry, x if kind == "float" else inputs)
                result[kind] = distance(given, found)
            except Exception as problem:  # noqa: BLE001
                failures[kind] = first_line(problem)
    return {**result, "failures": failures}


def main(folder, shard="0/1"):
    folder = Path(folder)
    shard, shards = map(int, shard.split("/"))
    entries = [e for e in json.loads((folder / "cases.json").read_text()) if "unusable" not in e]
    for entry in entries[shard::shards]:
        print(json.dumps(check(folder, entry)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
