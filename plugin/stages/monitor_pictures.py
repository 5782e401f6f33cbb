"""The picture of the monitor: agreement as it runs, probabilities as they come, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_node.durable import write_durably
from training.monitoring.agreement import FIGURES
from training.monitoring.cases import Watched, studies_in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMOOTHED = 20  # studies of the running mean of probabilities
_NOTHING = "no operating point, or too few compared yet"


def draw_monitor(found: Mapping[str, Any], rows: Sequence[Watched], path: Path) -> None:
    """Draw one row an observation: running agreement, probabilities by scanner, reliability.

    Args:
        found: what ``monitor_model`` has found.
        rows: what was watched.
        path: the PNG file.
    """
    from matplotlib.figure import Figure

    names = list(found["running"]) or ["-"]
    figure = Figure(figsize=(14, 1.2 + 3.2 * len(names)), layout="constrained")
    table = figure.subplots(len(names), 3, squeeze=False)
    for name, (left, middle, right) in zip(names, table, strict=True):
        own = [each for each in rows if each.observation == name]
        _running(left, found["running"].get(name, ()), name)
        _probabilities(middle, own, name)
        _reliability(right, _whole(found, name), name)
    alarms = found["drift"]["alarms"]
    said = f"{len(alarms)} alarms of drift" if alarms else "no alarm of drift"
    figure.suptitle(
        f"{found['model']} ({found['stage']}): {found['studies']} studies, {found['compared']} "
        f"compared with a later report; {found['drift']['state']}, {said}\n"
        "agreement with the labels of reports, not accuracy",
        fontsize="medium",
    )
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_durably(path, buffer.getvalue())


def _whole(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    for each in found["agreement"]:
        if each["split"] == "all" and each["observation"] == name:
            calibration: Mapping[str, Any] = each["calibration"]
            return calibration
    return {"bins": []}


def _running(axes: Axes, points: Sequence[Mapping[str, Any]], name: str) -> None:
    axes.set_title(f"{name}: running agreement with reports", fontsize="small")
    axes.set_xlabel("studies compared")
    axes.set_ylim(-0.02, 1.02)
    if not points:
        axes.text(0.5, 0.5, _NOTHING, ha="center", transform=axes.transAxes)
        return
    at = [each["study"] for each in points]
    for figure in FIGURES:
        values = [np.nan if each[figure] is None else each[figure] for each in points]
        marker = "." if len(points) == 1 else ""
        axes.plot(at, values, marker=marker, label=figure.upper() if figure == "ppv" else figure)
    axes.legend(fontsize="x-small", loc="best")


def _probabilities(axes: Axes, rows: Sequence[Watched], name: str) -> None:
    axes.set_title(f"{name}: mean probability of each study, by scanner", fontsize="small")
    axes.set_xlabel("studies in order of arrival (crosses: not evaluated)")
    axes.set_ylim(-0.02, 1.02)
    order = studies_in_order(rows)
    means = _means(rows, order)
    for scanner in sorted({each.scanner for each in rows}):
        of_it = {each.study for each in rows if each.scanner == scanner}
        places = [number for number, study in enumerate(order) if study in of_it]
        at, own = np.array(places) + 1, means[places]
        (drawn,) = axes.plot(at, own, ".", markersize=4, label=_legend(scanner))
        absent = at[np.isnan(own)]
        axes.plot(absent, np.zeros(absent.size), "x", color=drawn.get_color(), markersize=3)
    known = ~np.isnan(means)
    if known.sum() >= _SMOOTHED:
        kernel = np.ones(_SMOOTHED) / _SMOOTHED
        ends = np.flatnonzero(known)[_SMOOTHED - 1 :] + 1
        axes.plot(ends, np.convolve(means[known], kernel, "valid"), color="0.2", linewidth=1.2)
    if order:
        for text in axes.legend(fontsize="x-small", loc="upper left").get_texts():
            text.set_parse_math(False)


def _legend(scanner: str) -> str:
    """Return a name that a legend shows: one that begins with a low line would be left out."""
    return f"\N{ZERO WIDTH SPACE}{scanner}" if scanner.startswith("_") else scanner


def _means(rows: Sequence[Watched], order: Sequence[str]) -> np.ndarray[Any, Any]:
    sums: dict[str, list[float]] = {study: [] for study in order}
    for each in rows:
        if each.probability is not None:
            sums[each.study].append(each.probability)
    return np.array([np.mean(sums[study]) if sums[study] else np.nan for study in order])


def _reliability(axes: Axes, calibration: Mapping[str, Any], name: str) -> None:
    axes.set_title(f"{name}: probability and share present by reports", fontsize="small")
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.02, 1.02)
    bins = calibration["bins"]
    if not bins:
        axes.text(0.5, 0.5, _NOTHING, ha="center", transform=axes.transAxes)
        return
    given = [each["mean_probability"] for each in bins]
    shares = [each["share_present"] for each in bins]
    axes.plot(given, shares, "o-")
    for x, y, each in zip(given, shares, bins, strict=True):
        axes.annotate(str(each["n"]), (x, y), fontsize="x-small", xytext=(4, 4),
                      textcoords="offset points")  # fmt: skip
