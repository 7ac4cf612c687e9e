"""Runs and sweeps as calls."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gnp

MODELS = Path(__file__).parents[3] / "models"
DIGITS = {
    "model": MODELS / "mlp/model.onnx",
    "data": MODELS / "digits.npz",
    "divisor": 16,
    "loss": "cross-entropy",
    "lr": 0.05,
    "engine": "tract",
}


def test_a_run_leaves_records(tmp_path):
    seen = []
    run = gnp.run(DIGITS, epochs=2, out=tmp_path / "run", on_epoch=seen.append)
    assert seen == run.epochs
    assert [epoch["epoch"] for epoch in run.epochs] == [1, 2]
    assert len(run.steps) == 32
    assert run.outcome["ended"] == "done" or run.outcome["ended"]
    assert run.model == tmp_path / "run/model.onnx"
    assert "<iframe" in run._repr_html_()
    assert gnp.Run.load(tmp_path / "run") == run


def test_options_take_precedence_over_a_configuration(tmp_path):
    lines = [
        f"{name} = {str(value)!r}" if not isinstance(value, (int, float)) else f"{name} = {value}"
        for name, value in DIGITS.items()
    ]
    config = tmp_path / "digits.toml"
    config.write_text("\n".join([*lines, "epochs = 3"]))
    run = gnp.run(config, epochs=1, out=tmp_path / "run")
    assert len(run.epochs) == 1
    again = gnp.run({**DIGITS, "epochs": 3}, epochs=1, out=tmp_path / "again")
    assert again.epochs[0]["loss"] == run.epochs[0]["loss"]


def test_a_run_that_is_there_stays(tmp_path):
    gnp.run(DIGITS, epochs=1, out=tmp_path / "run")
    with pytest.raises(gnp.GnpError) as raised:
        gnp.run(DIGITS, epochs=1, out=tmp_path / "run")
    assert "force=" in str(raised.value)
    assert "--" not in str(raised.value)
    assert len(gnp.run(DIGITS, epochs=2, out=tmp_path / "run", resume=True).epochs) == 2
    assert len(gnp.run(DIGITS, epochs=1, out=tmp_path / "run", force=True).epochs) == 1


def test_what_a_listener_raises_ends_the_run(tmp_path):
    class Enough(Exception):
        pass

    def enough(record):
        raise Enough

    with pytest.raises(Enough):
        gnp.run(DIGITS, epochs=50, out=tmp_path / "run", on_epoch=enough)
    assert len(gnp.Run.load(tmp_path / "run").epochs) < 50


def test_ctrl_c_leaves_a_checkpoint(tmp_path):
    def interrupt(record):
        if record["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        gnp.run(DIGITS, epochs=1000, out=tmp_path / "run", on_epoch=interrupt)
    assert list((tmp_path / "run/checkpoints").iterdir())
    done = len(gnp.Run.load(tmp_path / "run").epochs)
    assert 2 <= done < 1000
    run = gnp.run(DIGITS, epochs=done + 1, out=tmp_path / "run", resume=True)
    assert run.epochs[-1]["epoch"] == done + 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epochs": 0}, "epochs="),
        ({}, "epochs="),
        ({"epochs": 1, "data": "none.npz"}, "none.npz"),
        ({"epochs": 1, "speed": 3}, "no argument `speed`"),
        ({"epochs": 1, "loss": None, "model": MODELS / "mlp"}, ""),
    ],
)
def test_runs_that_cannot_be_are_told(options, says, tmp_path):
    with pytest.raises(gnp.GnpError) as raised:
        gnp.run({**DIGITS, **options}, out=tmp_path / "run")
    assert says in str(raised.value)


def test_a_sweep_is_records(tmp_path):
    arms = {"plain, twice": "--alpha 0 --epochs 2"}
    sweep = gnp.sweep(DIGITS, epochs=1, alpha=[0, 0.8], r=0.5, seeds=2, arms=arms, out=tmp_path / "sweep")
    assert [record["name"] for record in sweep.records] == ["plain", "GNP r = 0.5, α = 0.8", "plain, twice"]
    assert all(0 < record["test_error"] < 1 and record["test_error_se"] >= 0 for record in sweep.records)
    assert sorted(len(run.epochs) for run in sweep.runs) == [1, 1, 1, 1, 2, 2]
    assert "<table>" in sweep._repr_html_()
    # What is there is not computed again.
    before = [run.steps for run in sweep.runs]
    again = gnp.sweep(DIGITS, epochs=1, alpha=[0, 0.8], r=0.5, seeds=2, arms=arms, out=tmp_path / "sweep")
    assert [run.steps for run in again.runs] == before


def test_the_programs_are_scripts():
    for program in ("gnp-run", "gnp-rewrite"):
        script = Path(sys.executable).parent / program
        said = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
        assert said.stdout == f"{program} {gnp.__version__}\n"
        wrong = subprocess.run([script, "--nonsense"], capture_output=True, text=True, check=False)
        assert wrong.returncode == 2
        assert "--nonsense" in wrong.stderr


def test_a_script_trains(tmp_path):
    script = Path(sys.executable).parent / "gnp-run"
    words = [word for name, value in DIGITS.items() if name != "model" for word in (f"--{name}", str(value))]
    command = [script, DIGITS["model"], *words, "--epochs", "1", "--out", tmp_path / "run"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "model: " in said.stdout
    assert (tmp_path / "run/model.onnx").is_file()
