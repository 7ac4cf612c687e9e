"""Nothing that is handed over ends the interpreter: each call returns, or raises what Python code can catch."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gnp
from gnp import _gnp

MODELS = Path(__file__).parents[3] / "models"


class Strange:
    """Answers every question with another one."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __fspath__(self):
        return 3

    def __index__(self):
        raise ZeroDivisionError

    __float__ = __len__ = __iter__ = __array__ = __index__


def things(seed):
    """Any number of things that nobody expects."""
    draw = random.Random(seed)
    numbers = np.random.default_rng(seed)
    model = (MODELS / "mlp/model.onnx").read_bytes()

    def damaged():
        data = bytearray(model)
        for _ in range(draw.randrange(1, 20)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        return bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])

    def array():
        shape = [draw.choice([0, 1, 2, 3, 10, 64]) for _ in range(draw.randrange(5))]
        kind = draw.choice(["f4", "f8", "f2", "i4", "i8", "u1", "?", "c8", "U3", "O", "M8[s]", ">f4"])
        found = np.asarray(numbers.normal(size=shape) * 10.0 ** draw.randrange(-3, 40))
        with np.errstate(all="ignore"):
            try:
                found = found.astype(kind)
            except (TypeError, ValueError):
                found = np.zeros(shape, kind)
        return draw.choice([found, found.T, found[::-1] if found.ndim else found, np.broadcast_to(found, (2, *shape))])

    makers = [
        lambda: None,
        lambda: draw.choice([True, 0, -1, 1, 2**31, 2**63, -(2**63), 10**40]),
        lambda: draw.choice([0.0, -0.0, 1e-300, 1e300, float("nan"), float("inf")]),
        lambda: draw.choice(["", "x", "\0", "\ud800", "--help", "=", "a" * 10000, "auto", "input", "labels", "../.."]),
        lambda: draw.choice([b"", b"\0", b"\xff" * 100, model]),
        damaged,
        array,
        array,
        lambda: [array() for _ in range(draw.randrange(4))],
        lambda: {
            draw.choice(["input", "labels", "lr", "fc1.weight", 3, None]): array() for _ in range(draw.randrange(4))
        },
        lambda: {"input": np.zeros((4, 64), np.float32), "labels": array()},
        lambda: Path("/" + "x" * draw.randrange(1, 300)),
        Strange,
        lambda: Strange,
        lambda: (x for x in [1, 2]),
        lambda: memoryview(b"abc"),
        lambda: [[[]]],
    ]
    while True:
        yield draw.choice(makers)()


ACCEPTABLE = (gnp.GnpError, TypeError, ValueError, OverflowError, RuntimeError, ZeroDivisionError)


def call_everything(seed, rounds):
    any_thing, draw = things(seed), random.Random(seed)
    options = [option["name"] for option in _gnp.options("rewrite")]
    step = gnp.rewrite(MODELS / "mlp/model.onnx", loss="cross-entropy")
    trainer = gnp.Trainer(step, engine="tract")
    engine, inner = trainer._engine, step._step
    calls = [
        lambda: gnp.rewrite(next(any_thing)),
        lambda: gnp.rewrite(MODELS / "mlp/model.onnx", loss="cross-entropy", **{draw.choice(options): next(any_thing)}),
        lambda: gnp.StepModel.load(next(any_thing), forward=next(any_thing)),
        lambda: gnp.Trainer(next(any_thing)),
        lambda: gnp.Trainer(step, **{"engine": "tract", "threads": next(any_thing), "seed": next(any_thing)}),
        lambda: trainer.step(next(any_thing)),
        lambda: trainer.step((np.zeros((2, 64), np.float32), np.zeros(2, int)), lr=next(any_thing), r=next(any_thing)),
        lambda: trainer.evaluate(next(any_thing)),
        lambda: trainer.load_state_dict(next(any_thing)),
        lambda: trainer.load_state_dict(trainer.state_dict() | {"fc1.weight": next(any_thing)}),
        lambda: trainer.load(next(any_thing)),
        lambda: step.trained(next(any_thing)),
        lambda: step.trained(step.state | {"fc1.weight": next(any_thing)}),
        lambda: gnp.run(next(any_thing), epochs=next(any_thing)),
        lambda: gnp.run(model=next(any_thing), data=next(any_thing), epochs=1),
        lambda: gnp.epoch_order(draw_small(any_thing), next(any_thing), next(any_thing)),
        # Beneath the package, where nothing is looked at before.
        lambda: engine.step(next(any_thing), next(any_thing), next(any_thing), next(any_thing), next(any_thing)),
        lambda: engine.step([next(any_thing), next(any_thing)], 0.1, None, None, {}),
        lambda: engine.evaluate([next(any_thing), next(any_thing)]),
        lambda: engine.set_state(next(any_thing)),
        lambda: inner.trained(next(any_thing)),
        lambda: _gnp.Step.rewrite(next(any_thing), next(any_thing), next(any_thing)),
        lambda: _gnp.Step.open(next(any_thing), next(any_thing)),
        lambda: _gnp.Engine(next(any_thing), next(any_thing), next(any_thing)),
        lambda: _gnp.rewrite_files(next(any_thing)),
        lambda: _gnp.read_state(next(any_thing)),
    ]
    for turn in range(rounds):
        for number, call in enumerate(calls):
            try:
                call()
            except ACCEPTABLE as error:
                assert getattr(error, "kind", "") != "internal", (turn, number, error)


def draw_small(any_thing):
    found = next(any_thing)
    return min(found, 1000) if isinstance(found, int) else found


@pytest.mark.parametrize("seed", range(4))
def test_strange_things_are_refused(seed):
    here = str(Path(__file__).parent)
    script = f"import sys; sys.path.insert(0, {here!r}); import test_hostile; test_hostile.call_everything({seed}, 30)"
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False, timeout=300
    )
    assert said.returncode == 0, said.stderr[-3000:]
