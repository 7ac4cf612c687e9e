"""Packages that are imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import GnpError


def load(module: str, purpose: str, package: str | None = None) -> Any:
    """The module of that name.

    Args:
        module: Its full name, as in ``import``.
        purpose: What it is needed for; the subject of the message.
        package: What ``pip install`` takes, where that is not the first part of ``module``.

    Raises:
        GnpError: It is not installed, or fails to load.
    """
    package = package or module.split(".", 1)[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise GnpError(
            f"{purpose} needs the package `{package}`: {error}", kind="input", help=f"pip install {package}"
        ) from error
