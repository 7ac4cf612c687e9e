"""The package is formatted, free of lint, and its types hold."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("words", [["format", "--check"], ["check"]])
def test_ruff_has_nothing_to_say(words):
    said = subprocess.run(
        [sys.executable, "-m", "ruff", *words, "--no-cache", ROOT / "crates/python"], capture_output=True, text=True
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_types_hold(tmp_path):
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path]
    said = subprocess.run([*command, "-p", "gnp"], capture_output=True, text=True, cwd=tmp_path)
    assert said.returncode == 0, said.stdout
