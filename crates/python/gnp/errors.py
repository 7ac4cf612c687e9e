"""What goes wrong, with what can be done about it."""

from __future__ import annotations

from typing import Any


class GnpError(Exception):
    """Why something cannot be done. ``str(error)`` is the whole message, with the help.

    Attributes:
        kind: ``"input"`` (what was asked for does not fit), ``"format"`` (a file is damaged), ``"unsupported"`` (a
            model has what cannot be trained), ``"io"`` (the operating system refused), ``"engine"`` (an engine is
            missing or failed), ``"diverged"`` (numbers are no longer finite), ``"internal"`` (a defect of gnp).
        message: What is wrong, in one line.
        file: The file that it is about, if one.
        node: The name of the node, if one.
        operator: The operator of that node.
        help: What can be done, where that is known.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "input",
        file: str | None = None,
        node: str | None = None,
        operator: str | None = None,
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.file = file
        self.node = node
        self.operator = operator
        self.help = help

    def __str__(self) -> str:
        return f"{self.message}\n  help: {self.help}" if self.help else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self.message, {k: v for k, v in vars(self).items() if k != "message"})


def _made_again(kind: type[GnpError], message: str, rest: dict[str, Any]) -> GnpError:
    return kind(message, **rest)
