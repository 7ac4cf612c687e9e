"""Trainer, Loop and gnp-run compute the same numbers, to the bit, with one engine."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import gnp

MODEL = Path(__file__).parents[3] / "models/mlp/model.onnx"
DIGITS = Path(__file__).parents[3] / "models/digits.npz"
OPTIONS = {"loss": "cross-entropy", "optimizer": "momentum", "r": 0.5, "alpha": 0.7}
SEED, EPOCHS, SIZE = 3, 2, 64


def run(folder, **engine):
    return gnp.run(
        model=MODEL,
        data=DIGITS,
        divisor=16,
        epochs=EPOCHS,
        batch_size=SIZE,
        lr=0.05,
        seed=SEED,
        out=folder,
        threads=1,
        **OPTIONS,
        **engine,
    )


def trained_alike(trainable):
    """The outputs of the steps of such a run."""
    data = np.load(DIGITS)
    x = data["x_train"].reshape(-1, 64).astype(np.float32) / 16
    y = data["y_train"].astype(np.int64)
    steps = []
    for epoch in range(1, EPOCHS + 1):
        order = gnp.epoch_order(len(x), epoch, SEED)
        for begin in range(0, len(x), SIZE):
            rows = order[begin : begin + SIZE]
            steps.append(trainable.step((x[rows], y[rows]), lr=0.05))
    return steps


def check(run, steps, step, state, tmp_path):
    recorded = run.steps
    assert len(recorded) == len(steps) == 32
    for mine, theirs in zip(steps, recorded):
        # metrics.jsonl has the shortest digits of a float32.
        assert np.float32(mine["loss"]) == np.float32(theirs["loss"])
        assert np.float32(mine["gnp.grad_norm"]) == np.float32(theirs["grad_norm"])
    trained = step.save_trained(state, tmp_path / "trained.onnx")
    assert trained.read_bytes() == run.model.read_bytes()


@pytest.mark.parametrize("engine", ["onnxruntime", "tract"])
def test_a_trainer_has_the_numbers_of_a_run(engine, tmp_path):
    step = gnp.rewrite(MODEL, **OPTIONS)
    trainer = gnp.Trainer(step, seed=SEED, engine=engine, threads=1)
    steps = trained_alike(trainer)
    check(run(tmp_path / "run", engine=engine), steps, step, trainer.state_dict(), tmp_path)


@pytest.mark.parametrize("kernels", ["none", "auto"])
def test_a_loop_has_the_numbers_of_a_run(kernels, tmp_path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    step = gnp.rewrite(MODEL, **OPTIONS)
    loop = gnp.Loop(step, session_options=options, kernels=kernels, seed=SEED)
    steps = trained_alike(loop)
    theirs = run(tmp_path / "run", engine="onnxruntime", kernels=kernels, layout="plain")
    check(theirs, steps, step, loop.state_dict(), tmp_path)
