"""Models and data for the tests: step models that gnp-rewrite makes of the repository's models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import gnp
from programs import program, run

MODELS = Path(__file__).parents[3] / "models"


def missing(what: str) -> NoReturn:
    """Skips the test for which ``what`` is not there; with GNP_TESTS=all it fails."""
    if os.environ.get("GNP_TESTS") == "all":
        pytest.fail(f"{what} is not there")
    pytest.skip(f"{what} is not there")


@pytest.fixture(scope="session")
def step_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``step_model("mlp", optimizer="adam")``: the file of a step model, made once."""
    made: dict[tuple[Any, ...], Path] = {}

    def make(name: str, **flags: object) -> Path:
        key = (name, *sorted(flags.items()))
        if key not in made:
            file = tmp_path_factory.mktemp(name) / "step.onnx"
            flags = {"loss": "cross-entropy", "optimizer": "momentum"} | flags
            given = [part for flag, value in flags.items() for part in (f"--{flag.replace('_', '-')}", value)]
            run(program("gnp-rewrite"), MODELS / name / "model.onnx", "-o", file, *given)
            made[key] = file
        return made[key]

    return make


@pytest.fixture(scope="session")
def evaluation_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``evaluation_model("mlp")``: the file of the evaluation model."""
    onnx = pytest.importorskip("onnx")

    def make(name: str) -> Path:
        file: Path = tmp_path_factory.mktemp(name) / "evaluation.onnx"
        onnx.save(gnp.rewrite(MODELS / name / "model.onnx", loss="cross-entropy").evaluation(), file)
        return file

    return make


@pytest.fixture(scope="session")
def digits() -> dict[str, Any]:
    """Handwritten digits: ``x_train`` float32 [1000, 64], and ``y_train`` int64 [1000]; ``x_test``, ``y_test``."""
    with np.load(MODELS / "digits.npz") as data:
        arrays = {name: data[name] for name in data.files}
    for part in ("train", "test"):
        arrays[f"x_{part}"] = arrays[f"x_{part}"].reshape(-1, 64).astype(np.float32) / 16
        arrays[f"y_{part}"] = arrays[f"y_{part}"].astype(np.int64)
    return arrays


@pytest.fixture(scope="session")
def batches(digits: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The first five batches of the digits: four of 64 samples, and one of 17."""
    x, y = digits["x_train"][:273], digits["y_train"][:273]
    return [(x[i : i + 64], y[i : i + 64]) for i in range(0, len(x), 64)]
