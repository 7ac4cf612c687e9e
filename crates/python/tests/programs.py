"""The programs of this Python's environment."""

import os
import shutil
import subprocess
import sys

import pytest


def program(name: str) -> str:
    """The path of ``gnp-rewrite`` or ``gnp-run``; the test fails where the package is not installed."""
    found = shutil.which(name, path=os.path.dirname(sys.executable)) or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not there: install the package")
    return found


def run(*command: object) -> str:
    """Runs a command, which must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
