"""The two programs, as console scripts."""

from __future__ import annotations

import os
import sys

from . import _gnp


def gnp_run() -> int:
    # CUDA reads it when it starts: kernels are loaded when they are used.
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")
    return _gnp.gnp_run(sys.argv)


def gnp_rewrite() -> int:
    return _gnp.gnp_rewrite(sys.argv)
