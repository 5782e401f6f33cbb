"""Pictures of the demonstration: ROC curves, and a study with its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("Agg")

_NOTICE = "Simulated data or pairing. Research use only."


def draw_roc(observations: Mapping[str, Any], path: Path) -> None:
    """Draw the ROC curve of every observation that has one, with its AUROC and interval."""
    figure = Figure(figsize=(6.4, 6.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    for name, row in observations.items():
        curve, auroc = row.get("roc"), row["auroc"]
        if not curve:
            continue
        bounds = f" ({auroc['low']:.2f}-{auroc['high']:.2f})" if auroc["low"] is not None else ""
        label = f"{name.replace('_', ' ')}: {auroc['value']:.2f}{bounds}, n = {row['n']}"
        axes.plot(curve["fpr"], curve["tpr"], linewidth=2, label=label)
    axes.set(
        xlabel="1 - specificity",
        ylabel="sensitivity",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        title=f"Held-out patients, per disc, against the truth of the images\n{_NOTICE}",
    )
    axes.legend(loc="lower right", title="AUROC (95 % interval)", frameon=False)
    figure.savefig(path, dpi=110)


def draw_study(
    image: Any,
    places: Mapping[str, tuple[float, float]],
    predictions: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    path: Path,
) -> None:
    """Draw the middle sagittal slice with the discs that were found and what was predicted.

    Args:
        image: (rows, columns), 8-bit grey, square pixels.
        places: row and column of each disc in the image, by site.
        predictions: rows with observation, site, probability and threshold.
        names: what the observations are called, by id.
        path: where the PNG goes.
    """
    figure = Figure(figsize=(11.0, 6.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    left.imshow(image, cmap="gray")
    left.set_axis_off()
    for site, (row, column) in places.items():
        above = any(each["site"] == site and _is_present(each) for each in predictions)
        color = "#ff7043" if above else "#4dd0e1"
        left.plot(column, row, marker="o", markersize=5, color=color)
        left.annotate(
            site,
            (column, row),
            xytext=(-26, 0),
            textcoords="offset points",
            color=color,
            fontsize=10,
            va="center",
            ha="right",
        )
    sites = list(places) or sorted({each["site"] for each in predictions})
    cells = [[_cell(predictions, observation, site) for observation in names] for site in sites]
    right.set_axis_off()
    table = right.table(
        cellText=cells,
        rowLabels=sites,
        colLabels=[name.replace(" ", "\n", 1) for name in names.values()],
        loc="center",
        cellLoc="center",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 2.4)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("0.85")
        if row > 0 and column >= 0 and cells[row - 1][column].endswith("*"):
            cell.set_facecolor("#ffe0d6")
    right.text(
        0.5,
        0.16,
        "probability; * at or above the operating point",
        transform=right.transAxes,
        ha="center",
        fontsize=9,
        color="0.3",
    )
    figure.suptitle(f"AI RESULT - RESEARCH USE ONLY\n{_NOTICE}", fontsize=12)
    figure.savefig(path, dpi=110)


def _is_present(prediction: Mapping[str, Any]) -> bool:
    probability, threshold = prediction["probability"], prediction["threshold"]
    return probability is not None and threshold is not None and probability >= threshold


def _cell(predictions: Sequence[Mapping[str, Any]], observation: str, site: str) -> str:
    for each in predictions:
        if (each["observation"], each["site"]) == (observation, site):
            if each["probability"] is None:
                return "not evaluated"
            return f"{each['probability']:.0%}" + ("*" if _is_present(each) else "")
    return "-"
