"""The learning curve of an adaptation, as a PNG file; matplotlib draws without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labeling.adaptation.checkpoint import Position

_SHOWN = ("whole", "sites", "mentioned", "balanced")
_SMOOTHED = 20  # steps


def draw_curve(position: Position, path: Path, title: str) -> None:
    """Draw the loss of each step, and above it the figures on test phrasings.

    Args:
        position: of a training, at its end or on the way.
        path: of the PNG file.
        title: says schema and model.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name in _SHOWN:
        points = [(each["step"], each[name]) for each in position.judged if name in each]
        if points:
            above.plot(*zip(*points, strict=True), "o-", markersize=4, label=name)
    if above.lines:
        above.legend(fontsize="small", loc="lower right")
    above.set_ylabel("AUROC, balanced accuracy")
    above.set_title(f"{title}: generated reports in test phrasings", fontsize="medium")
    below.plot(range(1, len(position.losses) + 1), position.losses, color="0.8", linewidth=1)
    below.plot(range(1, len(position.losses) + 1), smoothed(position.losses), color="C0")
    below.set_ylabel("loss on train phrasings")
    below.set_xlabel("step")
    figure.savefig(path, format="png", dpi=120)


def smoothed(values: Sequence[float]) -> list[float]:
    """Return for each value the mean of it and the ones before it, twenty at most."""
    found = []
    for end in range(1, len(values) + 1):
        window = values[max(end - _SMOOTHED, 0) : end]
        found.append(sum(window) / len(window))
    return found
