"""Packages that only some of this one needs."""

from __future__ import annotations

import importlib
from typing import Any

from gnp.errors import GnpError


def require(module: str, purpose: str, *, package: str | None = None) -> Any:
    """The module of a package that may be missing.

    Args:
        module: Its name, such as ``"tensorboard.summary"``.
        purpose: What it is needed for, as the end of a sentence: ``"to show progress"``.
        package: What pip calls it, where that is not the first part of ``module``.

    Raises:
        GnpError: It is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package or module.partition(".")[0]
        raise GnpError(
            f"{package} is needed {purpose}: {error}", kind="input", help=f"pip install {package}"
        ) from error
