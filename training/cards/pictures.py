"""The pictures of a card: ROC curves, reliability, learning curve. matplotlib draws unseen."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labeling.evaluation.sample_size import wilson
from training.cards.results import NOT_RECORDED

_ACROSS = 3
_NOTICE = "Research use only"
_SIMULATED = "SIMULATED DATA. Research use only"


def pictures(facts: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return what a card says of its pictures, and the PNG files by name.

    A picture whose data the record does not hold is named without a file and with the reason.
    """
    told, files = [], {}
    for name, shows, drawn, why in (
        ("roc.png", "ROC curves on the test fold, beside the baselines", _roc, "one class only"),
        ("reliability.png", "Reliability on the test fold", _reliability, NOT_RECORDED),
        ("learning_curve.png", "Losses and AUROC by epoch", _learning_curve, NOT_RECORDED),
    ):
        content = drawn(facts)
        if content is not None:
            files[name] = content
        there = content is not None
        told.append({"file": name if there else None, "shows": shows, "why": "" if there else why})
    return told, files


def _roc(facts: Mapping[str, Any]) -> bytes | None:
    rows = [row for row in facts["results"]["observations"] if row["roc"]]

    def draw(axes: Any, row: Mapping[str, Any]) -> None:
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        for rival in row["baselines"]:
            if rival["roc"]:
                label = f"{_short(rival['name'])}: {_figure(rival['auroc'])}"
                axes.plot(rival["roc"]["fpr"], rival["roc"]["tpr"], "--", color="C1", label=label)
        label = f"model: {_figure(row['auroc'])}"
        axes.plot(row["roc"]["fpr"], row["roc"]["tpr"], color="C0", linewidth=2, label=label)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        cases = f"{row['positives']} of {row['n']} present, {row['patients']} patients"
        axes.set_title(f"{_name(row)}\n{cases}", fontsize="medium")
        axes.legend(loc="lower right", fontsize="x-small")

    return _panels(facts, rows, draw, 3.9) if rows else None


def _reliability(facts: Mapping[str, Any]) -> bytes | None:
    rows = [row for row in facts["results"]["observations"] if row["reliability"]]

    def draw(axes: Any, row: Mapping[str, Any]) -> None:
        bins = [each for each in row["reliability"] if each["n"]]
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        whole = max(each["n"] for each in bins) if bins else 1
        for each in bins:
            width = each["high"] - each["low"]
            share, height = each["positives"] / each["n"], 0.25 * each["n"] / whole
            axes.bar(each["low"], height, width, align="edge", color="0.9", edgecolor="0.8")
            middle = each["mean_probability"]
            low, high = wilson(each["positives"], each["n"])  # as if cases were independent
            at = middle if middle is not None else (each["low"] + each["high"]) / 2
            filled = "C0" if middle is not None else "none"
            axes.plot([at, at], [low, high], color="C0", linewidth=1)
            axes.plot(at, share, "o", markerfacecolor=filled, markeredgecolor="C0", markersize=5)
        axes.set(xlabel="predicted probability", ylabel="share present", aspect="equal")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_title(f"{_name(row)}, n = {row['n']}", fontsize="medium")

    note = "Bars: how many cases. Open circles: fewer cases than tell a mean probability."
    return _panels(facts, rows, draw, 3.6, note) if rows else None


def _learning_curve(facts: Mapping[str, Any]) -> bytes | None:
    curve = facts["results"]["learning_curve"]
    if not curve:
        return None
    figure = _figure_of(7.0, 5.2)
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = [each["epoch"] for each in curve]
    for key, label in (("training_loss", "training"), ("validation_loss", "validation")):
        above.plot(epochs, [each[key] for each in curve], "o-", markersize=3, label=label)
    ranked = [
        (e["epoch"], e["validation_auroc"]) for e in curve if e["validation_auroc"] is not None
    ]
    if ranked:
        below.plot(*zip(*ranked, strict=True), "o-", markersize=3, color="C2")
    if best := facts["model"]["best_epoch"]:
        for axes in (above, below):
            axes.axvline(best, color="0.7", linestyle="--", label="weights that were kept")
    above.legend(fontsize="small")
    above.set_ylabel("loss")
    below.set(xlabel="epoch", ylabel="mean AUROC, validation", ylim=(0, 1.02))
    figure.suptitle(_title(facts), fontsize="medium")
    return _png(figure)


def _panels(
    facts: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    draw: Callable[[Any, Mapping[str, Any]], None],
    size: float,
    note: str = "",
) -> bytes:
    """Draw a panel a finding, at most ``_ACROSS`` side by side."""
    across = min(len(rows), 2 if len(rows) == 4 else _ACROSS)
    down = -(-len(rows) // across)
    figure = _figure_of(max(size * across, 5.5), size * down + 0.9)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, row in zip(panels, rows, strict=False):
        draw(axes, row)
    for axes in panels[len(rows) :]:
        axes.set_axis_off()
    figure.suptitle(_title(facts), fontsize="medium")
    if note:
        figure.supxlabel(note, fontsize="x-small")
    return _png(figure)


def _title(facts: Mapping[str, Any]) -> str:
    simulated = facts["training_data"]["simulated"]["any"]
    simulated = simulated or facts["reference_labels"]["simulated_readers"]
    return f"{facts['model']['reference']}\n{_SIMULATED if simulated else _NOTICE}"


def _name(row: Mapping[str, Any]) -> str:
    return str(row["observation"]).replace("_", " ")


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:20].rstrip()} ..."


def _figure(told: Mapping[str, Any]) -> str:
    if told["value"] is None:
        return "none"
    between = f" ({told['low']:.2f}-{told['high']:.2f})" if told["low"] is not None else ""
    return f"{told['value']:.2f}{between}"


def _figure_of(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
