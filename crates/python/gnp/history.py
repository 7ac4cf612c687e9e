"""What a training recorded."""

from __future__ import annotations

import html
import math
from typing import Any

Record = dict[str, Any]

_WIDTH, _HEIGHT, _MARGIN = 480.0, 180.0, 40.0
_MOST_POINTS = 400
_MOST_ROWS = 12


class History:
    """What a training recorded: plain dicts, one a step and one an epoch, ready for ``pandas.DataFrame``.

    The names are those of gnp-run's ``metrics.jsonl``. What a model does not tell is left out.

    Attributes:
        steps: ``epoch`` and ``step``, from 1 on; ``loss``, L(θ); ``loss_perturbed``, L(θ + ε); ``sharpness``, their
            difference; ``grad_norm``, ‖∇L(θ)‖₂; ``mixed_grad_norm``; ``param_norm``, ‖θ‖₂; ``error``, the fraction of
            the labels that are wrong; ``learning_rate``, ``r`` and ``alpha``, as they were fed, and other
            hyperparameters that were given; ``seconds``, of which ``data_seconds`` went by waiting for the batch;
            ``examples_per_second``. With a scale of the loss also ``loss_scale``, and ``skipped``, 1 where the step was
            not taken; such a step has no norms of gradients.
        epochs: The same as means over the epoch (losses by what they weigh, errors over the labels that count, norms
            over samples), and ``validation_loss`` and ``validation_error`` where there are validation data. Of
            hyperparameters and the scale of the loss they have the last.
    """

    def __init__(self) -> None:
        self.steps: list[Record] = []
        self.epochs: list[Record] = []

    def __repr__(self) -> str:
        last = self.epochs[-1:] or self.steps[-1:]
        losses = (f"{name} {last[0][name]:.4g}" for name in ("loss", "validation_loss") if last and name in last[0])
        return f"<History: {len(self.epochs)} epochs, {len(self.steps)} steps; {', '.join(losses) or 'nothing yet'}>"

    def _repr_html_(self) -> str:
        columns = {
            "epoch": "{:d}",
            "loss": "{:.4f}",
            "error": "{:.2%}",
            "validation_loss": "{:.4f}",
            "validation_error": "{:.2%}",
            "grad_norm": "{:.4g}",
            "sharpness": "{:.4g}",
            "seconds": "{:.2f}",
        }
        shown = [name for name in columns if any(name in epoch for epoch in self.epochs)]
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in shown)
        rows = [
            "".join(f"<td>{columns[name].format(epoch[name]) if name in epoch else ''}</td>" for name in shown)
            for epoch in self.epochs
        ]
        if len(rows) > _MOST_ROWS:
            rows[_MOST_ROWS // 3 : -2 * _MOST_ROWS // 3] = [f'<td colspan="{len(shown)}">…</td>']
        table = f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>" if shown else ""
        return f"<div>{self._curve()}{table}</div>"

    def _curve(self) -> str:
        """The loss against steps: of the steps, and of the epochs with training and validation data."""
        lines = {
            "step": ("#9aa4b2", 1.0, [(step["step"], step["loss"]) for step in self.steps]),
            "epoch": ("#2563eb", 2.0, [(epoch["step"], epoch["loss"]) for epoch in self.epochs]),
            "validation": (
                "#dc2626",
                2.0,
                [(epoch["step"], epoch["validation_loss"]) for epoch in self.epochs if "validation_loss" in epoch],
            ),
        }
        points = [point for _, _, line in lines.values() for point in line if math.isfinite(point[1])]
        if len(points) < 2:
            return ""
        right, (low, high) = max(x for x, _ in points), (min(y for _, y in points), max(y for _, y in points))
        across, up = (_WIDTH - 2 * _MARGIN) / max(right, 1), (_HEIGHT - 2 * _MARGIN) / ((high - low) or 1.0)

        def place(x: float, y: float) -> str:
            return f"{_MARGIN + x * across:.1f},{_HEIGHT - _MARGIN - (y - low) * up:.1f}"

        drawn = []
        for at, (name, (color, width, line)) in enumerate(lines.items()):
            shown = [point for point in line[:: 1 + len(line) // _MOST_POINTS] if math.isfinite(point[1])]
            if shown:
                path = " ".join(place(*point) for point in shown)
                drawn.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>')
                drawn.append(f'<text x="{_MARGIN + 90 * at}" y="16" fill="{color}">{name}</text>')
        axes = (
            f'<text x="4" y="{_MARGIN + 4}">{high:.3g}</text><text x="4" y="{_HEIGHT - _MARGIN}">{low:.3g}</text>'
            f'<text x="{_MARGIN}" y="{_HEIGHT - 14}">loss against steps, to step {right}</text>'
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" width="{_WIDTH:.0f}" '
            f'role="img" aria-label="loss against steps" font-family="sans-serif" font-size="12" fill="currentColor">'
            f"{axes}{''.join(drawn)}</svg>"
        )
