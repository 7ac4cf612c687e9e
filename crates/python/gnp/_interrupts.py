"""Ctrl-C that waits for what must not be cut off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """As a context, it lets Ctrl-C wait until the end of what is :attr:`held`.

    Elsewhere, and when that is over, Ctrl-C does what it did before: it raises KeyboardInterrupt, as a rule. Where it
    does nothing that Python knows of, and in threads that signals do not come to, all stays as it is.
    """

    def __init__(self) -> None:
        self.held = _Held(self)
        self._before: Callable[[int, FrameType | None], Any] | None = None
        self._is_held = False
        self._is_pending = False

    def __enter__(self) -> Interrupts:
        before = signal.getsignal(signal.SIGINT)
        if callable(before) and threading.current_thread() is threading.main_thread():
            self._before = before
            signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_held:
            self._is_pending = True
        elif self._before is not None:
            self._before(number, frame)


class _Held:
    """The context in which Ctrl-C waits."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts

    def __enter__(self) -> None:
        self._interrupts._is_held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupts = self._interrupts
        interrupts._is_held = False
        if interrupts._is_pending:
            interrupts._is_pending = False
            interrupts._on_signal(signal.SIGINT, None)
