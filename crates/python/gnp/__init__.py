"""The Gradient Norm Penalty for ONNX models: training steps as graphs, and training them.

    import gnp

    step = gnp.rewrite("model.onnx", loss="cross-entropy", optimizer="momentum", r=0.05, alpha=0.8)
    trainer = gnp.Trainer(step)
    trainer.fit(loader, epochs=10, lr=0.05)
    step.save_trained(trainer.state_dict(), "trained.onnx")

`rewrite` makes a step model, which takes a whole training step; `Trainer` trains it with gnp's engines, `Loop` in a
session of your own ``onnxruntime``. `run` and `sweep` do what the program ``gnp-run`` does, from files to files.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._gnp import LearningRate as LearningRate
    from .errors import GnpError as GnpError
    from .fitting import History as History
    from .fitting import Trainable as Trainable
    from .loop import Loop as Loop
    from .pretrained import Pretrained as Pretrained
    from .pretrained import from_pretrained as from_pretrained
    from .pytorch import from_torch as from_torch
    from .pytorch import to_torch as to_torch
    from .report import Report as Report
    from .rewriting import StepModel as StepModel
    from .rewriting import make_artifacts as make_artifacts
    from .rewriting import rewrite as rewrite
    from .rewriting import rewrite_artifacts as rewrite_artifacts
    from .runs import Run as Run
    from .runs import Sweep as Sweep
    from .runs import run as run
    from .runs import sweep as sweep
    from .trainer import Trainer as Trainer
    from .trainer import epoch_order as epoch_order

# Each is imported when it is used: the console scripts import this package too.
_PLACES = {
    "GnpError": "errors",
    "History": "fitting",
    "LearningRate": "_gnp",
    "Loop": "loop",
    "Pretrained": "pretrained",
    "Report": "report",
    "Run": "runs",
    "StepModel": "rewriting",
    "Sweep": "runs",
    "Trainable": "fitting",
    "Trainer": "trainer",
    "epoch_order": "trainer",
    "from_pretrained": "pretrained",
    "from_torch": "pytorch",
    "make_artifacts": "rewriting",
    "rewrite": "rewriting",
    "rewrite_artifacts": "rewriting",
    "run": "runs",
    "sweep": "runs",
    "to_torch": "pytorch",
}
_MODULES = ("callbacks",)

__all__ = sorted([*_PLACES, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        value = getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    elif name == "__version__":
        value = importlib.import_module("._gnp", __name__).__version__
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
