"""Everything that the monitor says of one model, as one dict for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.monitoring.agreement import agreement, running
from training.monitoring.cases import Watched, groups, studies_in_order
from training.monitoring.drift import drift
from training.settings import MonitorSettings

CALLED = (
    "agreement with the labels of later reports: no figure here is the accuracy of the model; "
    "where a structured report of ours was there before, the report may rest on it"
)


def watch(rows: Sequence[Watched], settings: MonitorSettings, seed: int = 0) -> dict[str, Any]:
    """Return agreement, calibration and drift of one model, split by scanner, site and more.

    Args:
        rows: of one model; a study once, as it was predicted last before its report.
        settings: of the monitor.
        seed: of bootstrap and permutations.
    """
    names = sorted({each.observation for each in rows})
    return {
        "studies": len(studies_in_order(rows)),
        "compared": len({each.study for each in rows if each.compared}),
        "called": CALLED,
        "agreement": [
            {"split": split, "value": value, "observation": name, **agreement(_of(own, name), seed)}
            for (split, value), own in groups(rows).items()
            for name in names
        ],
        "running": {name: running(_of(rows, name), settings.newest_studies) for name in names},
        "drift": drift(rows, settings, seed),
    }


def _of(rows: Sequence[Watched], observation: str) -> list[Watched]:
    return [each for each in rows if each.observation == observation]
