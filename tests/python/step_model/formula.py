"""The gradient that a step model follows is the formula: the mix of two plain gradients, and those are derivatives.

python formula.py GNP-REWRITE FOLDER small|light
"""

import sys
from pathlib import Path

import numpy as np
import onnx

import models
from step import State, Step, norm, relative_error, rewrite, same

# In double precision the constants of nodes are converted, and those of functions are not.
FLAGS = ["--loss", "cross-entropy", "--optimizer", "sgd", "--flat"]
# Numbers that single and double precision both have.
R, ALPHA = np.float32(0.125), np.float32(0.75)
PLAIN = {"gnp.r": np.float32(0)}
PENALISED = {"gnp.r": R, "gnp.alpha": ALPHA}


def perturbed(step: Step, given: State, gradient: State, length: float, r: float) -> State:
    """θ + r·g/‖g‖, rounded as the file's precision rounds."""
    at = {**step.initial, **given}
    precision = step.initial[step.parameters[0]].dtype.type
    scale = precision(r) / precision(length)
    return {n: at[n] + gradient[n].astype(precision) * scale for n in step.parameters}


def check_mix(step: Step, given: State, bound: float) -> float:
    """g = (1 − α)·g₁ + α·g₂, with g₁ and g₂ from plain steps."""
    here = step.gradient({**given, **PLAIN})
    found = step.gradient({**given, **PENALISED})
    length = step.run({**given, **PLAIN})["gnp.grad_norm"]
    there = step.gradient({**given, **PLAIN, **perturbed(step, given, here, length, R)})
    mix = {n: (1 - float(ALPHA)) * here[n] + float(ALPHA) * there[n] for n in here}
    assert relative_error(found, here) > 1e-3, "the penalty makes no difference"
    error = relative_error(found, mix)
    assert error <= bound, f"the gradient is not the mix of two: {error}"
    # A norm is a sum of up to millions of squares in the file's precision.
    returned = step.run({**given, **PENALISED})
    assert np.isclose(returned["gnp.mixed_grad_norm"], norm(found), rtol=1e-4)
    at = {**step.initial, **given}
    assert np.isclose(returned["gnp.param_norm"], norm({n: at[n] for n in step.parameters}), rtol=1e-4)
    return error


def check_derivative(step: Step, given: State, bound: float, steps: list[float], seed: int) -> float:
    """⟨∇L, v⟩ = (L(θ + hv) − L(θ − hv))/2h in a direction v in which every layer matters."""
    rng = np.random.default_rng(seed)
    at = {**step.initial, **given}
    gradient = step.gradient({**given, **PLAIN})
    direction = {n: g * rng.uniform(0, 2, g.shape) for n, g in gradient.items()}
    length = norm(direction)
    direction = {n: v / length for n, v in direction.items()}
    expected = sum(np.sum(gradient[n] * direction[n]) for n in gradient)

    def loss(h: float) -> float:
        moved = {n: (at[n] + h * direction[n]).astype(at[n].dtype) for n in direction}
        return float(step.run({**given, **PLAIN, **moved, "lr": np.float32(0)})["loss"])

    errors = [abs((loss(h) - loss(-h)) / (2 * h) / expected - 1) for h in steps]
    assert min(errors) <= bound, f"the gradient is no derivative: {errors}"
    return min(errors)


def check_contract(step: Step, batch: State):
    """What a step promises besides the gradient."""
    plain, penalised = step.run({**batch, **PLAIN}), step.run({**batch, **PENALISED})
    assert plain["loss"] == penalised["loss"] == plain["gnp.loss_perturbed"]
    assert penalised["gnp.loss_perturbed"] > penalised["loss"]
    # Sums of a million squares in single precision.
    assert np.isclose(penalised["gnp.grad_norm"], norm(step.gradient({**batch, **PLAIN})), rtol=1e-4)
    assert plain["gnp.mixed_grad_norm"] == plain["gnp.grad_norm"] == penalised["gnp.grad_norm"]

    # Both switches lead to the plain step, bit for bit.
    without = step.run({**batch, "gnp.r": R, "gnp.alpha": np.float32(0)})
    assert same(plain, without)
    assert not same(plain, penalised)

    # The statistics move once, by the pass at θ.
    for name in step.statistics:
        moved = penalised[f"{name}.next"]
        assert np.array_equal(moved, plain[f"{name}.next"]) and not np.array_equal(moved, step.initial[name]), name

    draws = "step" in step.initial
    if draws:
        again, seeded = step.run({**batch, **PENALISED}), step.run({**batch, **PENALISED, "gnp.seed": np.int64(1)})
        later = step.run({**batch, **PENALISED, "step": np.int64(1)})
        assert same(again, penalised), "the same seed and step draw the same"
        assert later["loss"] != penalised["loss"] != seeded["loss"] != later["loss"]
        assert penalised["step.next"] == 1 and later["step.next"] == 2


def check_unit(plain: Step, unit: Step, batch: State):
    """The unit mix: (1 − α)·g₁/‖g₁‖ + α·g₂; normalised gradient descent where α = 0, the plain gradient where r = 0."""
    at_zero = [step.gradient({**batch, **PLAIN, "gnp.alpha": ALPHA}) for step in (plain, unit)]
    assert same(*at_zero), "a step with r = 0 is plain"
    here, alpha = at_zero[0], float(ALPHA)
    normalised = {n: g / norm(here) for n, g in here.items()}
    assert relative_error(unit.gradient({**batch, "gnp.r": R, "gnp.alpha": np.float32(0)}), normalised) <= 1e-5
    mixed = plain.gradient({**batch, **PENALISED})
    # From the plain mix (1 − α)·g₁ + α·g₂ to the other one.
    expected = {n: g + (1 - alpha) * (normalised[n] - here[n]) for n, g in mixed.items()}
    assert relative_error(unit.gradient({**batch, **PENALISED}), expected) <= 1e-5


def check_zero_gradient(program: str, folder: Path):
    """Where the gradient is zero the perturbation is, and nothing is NaN: 0·w against targets of 0."""
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    inputs = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3])]
    outputs = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 2])]
    weights = [onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "w")]
    graph = onnx.helper.make_graph(nodes, "linear", inputs, outputs, weights)
    path = folder / "linear.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), path)
    for optimizer in ["sgd", "momentum", "adam", "rmsprop"]:
        step = rewrite(program, path, folder / "linear.step.onnx", "--loss", "mse", "--optimizer", optimizer)
        zero = {"x": np.zeros((4, 3), np.float32), "labels": np.zeros((4, 2), np.float32), **PENALISED}
        returned = step.run(zero)
        assert returned["loss"] == returned["gnp.loss_perturbed"] == returned["gnp.grad_norm"] == 0
        assert np.array_equal(returned["w.next"], step.initial["w"]), optimizer


def small(program: str, folder: Path):
    """The models of models/ and a text transformer; the derivatives in double precision."""
    for name, model in models.small().items():
        path = folder / f"{name}.onnx"
        onnx.save(model, path)
        step = rewrite(program, path, folder / f"{name}.step.onnx", *FLAGS, *models.frozen(name))
        onnx.checker.check_model(step.path, full_check=True)
        batch = step.batch(8, models.CLASSES, seed=1)
        if name == "text":
            batch["input"] %= models.VOCABULARY
        mix = check_mix(step, batch, 1e-5)
        check_contract(step, batch)
        unit = rewrite(program, path, folder / f"{name}.unit.onnx", *FLAGS, "--mix", "unit", *models.frozen(name))
        check_unit(step, unit, batch)
        exact, few = step.doubled(), {n: v[:3] for n, v in batch.items()}
        errors = [check_derivative(exact, few, 1e-6, [1e-4, 1e-5, 1e-6], seed) for seed in range(2)]
        print(f"{name}: mix {mix:.1e}, in doubles {check_mix(exact, few, 1e-12):.1e}, derivative {max(errors):.1e}")
    check_zero_gradient(program, folder)


# vgg19, alexnet and zfnet512 are left out: 61 to 144 million weights each take gigabytes and minutes.
LIGHT = ["squeezenet", "shufflenet", "inception_v1", "inception_v2", "densenet121", "resnet50"]


def light(program: str, folder: Path):
    """The architectures of the package onnx."""
    for name in LIGHT:
        path = folder / f"{name}.onnx"
        onnx.save(models.light(name), path)
        step = rewrite(program, path, folder / f"{name}.step.onnx", *FLAGS)
        onnx.checker.check_model(step.path, full_check=True)
        # Thousands of activations lie as near to a kink as rounding, and the two passes must round alike: in shufflenet, a change of
        # the weights by 1e-7 moves the gradient by 1e-3.
        step.fuses = False
        batch = step.batch(1, 1000, seed=1)
        mix = check_mix(step, batch, 1e-5)
        check_contract(step, batch)
        error = check_derivative(step, batch, 1e-2, [1e-2, 1e-3, 3e-4, 1e-4, 3e-5], seed=1)
        print(f"{name}: mix {mix:.1e}, derivative {error:.1e}")


if __name__ == "__main__":
    {"small": small, "light": light}[sys.argv[3]](sys.argv[1], Path(sys.argv[2]))
