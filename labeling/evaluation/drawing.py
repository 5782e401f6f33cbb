"""Pictures of an evaluation, as PNG files; matplotlib draws without a display."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.evaluation.agreement import Agreement
from labeling.evaluation.metrics import Bin, Estimate
from labeling.vocabulary import State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN = ("auroc", "balanced_accuracy", "f1", "sensitivity", "specificity")
_COLUMNS = 4


def draw_all(found: Mapping[str, Agreement], folder: Path, title: str) -> list[Path]:
    """Draw figures, reliability curves and confusions into a folder; return the files.

    Args:
        found: agreement by observation.
        folder: is created where it does not exist.
        title: says labeler and number of reports; stands over each picture.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = [_draw_figures(found, folder / "figures.png", title)]
    curves = {name: each for name, each in found.items() if each.curve}
    if curves:
        files.append(_draw_grid(curves, folder / "reliability.png", title, _curve))
    files.append(_draw_grid(found, folder / "confusion.png", title, _confusion))
    return files


def _draw_figures(found: Mapping[str, Agreement], path: Path, title: str) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.6 + 0.55 * len(found)), layout="constrained")
    axes = figure.subplots()
    for row, each in enumerate(found.values()):
        for place, name in enumerate(_SHOWN):
            estimate = getattr(each, name)
            if estimate is not None and not math.isnan(estimate.value):
                height = row + 0.14 * (place - len(_SHOWN) // 2)
                _bar(axes, estimate, height, f"C{place}")
    axes.set_yticks(range(len(found)), [f"{n} ({e.n_present}/{e.n})" for n, e in found.items()])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.axvline(0.5, color="0.8", linewidth=1)
    axes.set_xlabel("value and 95 % interval (present against the rest)")
    handles = [
        axes.plot([], [], "o", color=f"C{i}", label=n.replace("_", " "))[0]
        for i, n in enumerate(_SHOWN)
    ]
    axes.legend(handles=handles, fontsize="small", ncols=len(_SHOWN), loc="upper center",
                bbox_to_anchor=(0.5, -0.22))  # fmt: skip
    axes.set_title(title, fontsize="medium")
    figure.savefig(path, format="png", dpi=120)
    return path


def _bar(axes: Axes, estimate: Estimate, height: float, colour: str) -> None:
    if not math.isnan(estimate.low):
        axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=1.5)
    axes.plot([estimate.value], [height], "o", color=colour, markersize=4)


def _draw_grid(found: Mapping[str, Agreement], path: Path, title: str, draw: Any) -> Path:
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, max(len(found), 1))
    rows = math.ceil(len(found) / columns) or 1
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, each) in zip(grid, found.items(), strict=False):
        draw(axes, each)
        axes.set_title(name, fontsize="small")
    for axes in grid[len(found) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path, format="png", dpi=120)
    return path


def _curve(axes: Axes, each: Agreement) -> None:
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    axes.plot([b.said for b in each.curve], [b.seen for b in each.curve], "o-", markersize=4)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(f"probability said\n{_numbers(each.curve)}", fontsize="small")
    axes.set_ylabel("share present", fontsize="small")
    error = each.calibration_error
    if error is not None and not math.isnan(error):
        axes.text(0.05, 0.9, f"ECE {error:.3f}", fontsize="small")


def _numbers(curve: Sequence[Bin]) -> str:
    """Say how many reports each point of a curve stands for; beside the points they overlap."""
    counts = [str(each.n) for each in curve]
    if len(set(counts)) == 1:
        return f"n = {counts[0]} at each point"
    return f"n = {' '.join(counts)}"


def _confusion(axes: Axes, each: Agreement) -> None:
    wanted = _states([reference for reference, _ in each.confusion])
    said = _states([label for _, label in each.confusion])
    counts = [[each.confusion.get((w, s), 0) for s in said] for w in wanted]
    axes.imshow(counts, cmap="Blues", aspect="auto")
    dark = max((max(row) for row in counts), default=0) / 2
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            colour = "white" if count > dark else "black"
            axes.text(x, y, str(count), ha="center", va="center", color=colour, fontsize="small")
    axes.set_xticks(range(len(said)), said, rotation=45, ha="right", fontsize="x-small")
    axes.set_yticks(range(len(wanted)), wanted, fontsize="x-small")
    axes.set_xlabel("labeler", fontsize="small")
    axes.set_ylabel("reader", fontsize="small")


def _states(given: Sequence[State]) -> list[State]:
    """Return the states that occur, in the order of the vocabulary."""
    return [state for state in State if state in set(given)]
