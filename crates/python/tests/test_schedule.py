"""Learning rates are those of gnp-run."""

from pathlib import Path

import numpy as np
import pytest

import gnp

MODELS = Path(__file__).parents[3] / "models"


@pytest.mark.parametrize(
    "schedule",
    [
        {},
        {"schedule": "cosine", "warmup": 5},
        {"schedule": "linear", "final_lr": 0.1, "warmup": "0.5ep"},
        {"schedule": "exponential"},
        {"schedule": "stepped", "milestones": [1, 2], "gamma": 0.5},
    ],
)
def test_rates_are_those_of_a_run(schedule, tmp_path):
    how = {"model": MODELS / "mlp/model.onnx", "data": MODELS / "digits.npz", "loss": "cross-entropy"}
    run = gnp.run(**how, divisor=16, engine="tract", epochs=3, lr=0.3, out=tmp_path / "run", **schedule)
    rate = gnp.LearningRate(0.3, epochs=3, steps_per_epoch=16, **schedule)
    recorded = [np.float32(step["learning_rate"]) for step in run.steps]
    assert recorded == [np.float32(rate(step)) for step in range(48)]


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ({"schedule": "cosine", "gamma": 0.1}, "gamma="),
        ({"schedule": "stepped"}, "milestones="),
        ({"schedule": "up"}, "invalid value 'up' for 'schedule='"),
        ({"warmup": "long"}, "warmup="),
        ({"lr": 3}, "no argument `lr`"),
        ({"peak": -1.0}, "learning rate"),
    ],
)
def test_rates_that_are_none_are_told(schedule, says):
    with pytest.raises(gnp.GnpError) as raised:
        gnp.LearningRate(**{"peak": 0.1, "epochs": 2, "steps_per_epoch": 4, **schedule})
    assert says in str(raised.value)


def test_steps_begin_at_zero():
    with pytest.raises(gnp.GnpError):
        gnp.LearningRate(0.1, epochs=1, steps_per_epoch=1)(-1)
