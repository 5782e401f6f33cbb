"""Stage: what a model predicted beside what the reports said later; nothing is changed by it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session, func, select

from dicom_node.durable import write_durably
from labeling.models import Label
from plugin.settings import Settings
from plugin.stages.ground import ground_of
from plugin.stages.monitor_pictures import draw_monitor
from plugin.stages.monitor_rows import Gathered, gather
from training.models import Model, Prediction
from training.monitoring.cases import Watched
from training.monitoring.drift import drift, sentence
from training.monitoring.watching import watch
from training.registry import find, stage_of
from training.stages import Stage


def monitor_model(settings: Settings, session: Session, name: str, folder: Path) -> dict[str, Any]:
    """Return how a model does on what arrives, and write it as JSON and as a picture.

    Args:
        settings: of the node.
        session: any session.
        name: NAME (its newest version) or NAME:VERSION.
        folder: for ``NAME-VERSION.json`` and ``NAME-VERSION.png``; made where it is missing.

    Raises:
        Permanent: the registry has no such model.
    """
    model = find(session, name)
    gathered = _gathered(settings, session, model)
    found = {
        "model": model.reference,
        "stage": str(stage_of(session, model)),
        **watch(gathered.rows, settings.monitor, settings.training.seed),
        "labeler": gathered.labeler,
        "left_out": dict(gathered.left_out),
        "marks": marks_of(settings, gathered.rows),
    }
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = [folder / f"{model.name}-{model.version}.{kind}" for kind in ("json", "png")]
    write_durably(files[0], json.dumps(found, indent=1).encode())
    draw_monitor(found, gathered.rows, files[1])
    return {**_shown(found), "files": [str(each) for each in files]}


@dataclass(frozen=True)
class Evidence:
    """What silent mode and the monitor say of a model.

    Attributes:
        silent_studies: of silent mode, compared with a report.
        alarms: of drift; scanners and sites are named by a keyed digest (:func:`marks_of`).
        state: "watched", or how many studies are still missing.
        seen: the newest prediction of the model and the newest label that were looked at.
    """

    silent_studies: int
    alarms: tuple[str, ...]
    state: str
    seen: tuple[int, int]


def silent_evidence(settings: Settings, session: Session, model: Model) -> Evidence:
    """Return what silent mode and the monitor say of a model; takes a while, changes nothing."""
    seen = newest_seen(session, model)
    rows = _gathered(settings, session, model).rows
    silent = {each.study for each in rows if each.compared and each.stage == Stage.SILENT}
    found = drift(rows, settings.monitor, settings.training.seed)
    marks = {name: mark for mark, name in marks_of(settings, rows).items()}
    alarms = [
        sentence({**each, "value": marks.get(each["value"], "")})
        for each in found["changes"]
        if each["alarm"]
    ]
    return Evidence(len(silent), tuple(alarms), found["state"], seen)


def newest_seen(session: Session, model: Model) -> tuple[int, int]:
    """Return the id of a model's newest prediction, and of the newest label of any report."""
    predictions = select(func.max(Prediction.id)).where(Prediction.model_id == model.id)
    labels = select(func.max(Label.id))
    return session.exec(predictions).one() or 0, session.exec(labels).one() or 0


def marks_of(settings: Settings, rows: Sequence[Watched]) -> dict[str, str]:
    """Return names of scanners and sites by a keyed digest of each.

    What images say of their scanner may be anything, so decisions that are kept for good name it
    by its mark; the monitor says which is which.
    """
    salt = ground_of(settings).salt
    names = {name for each in rows for name in (each.scanner, each.house)}
    return {
        hmac.new(salt, name.encode(), hashlib.sha256).hexdigest()[:8]: name
        for name in sorted(names)
    }


def _gathered(settings: Settings, session: Session, model: Model) -> Gathered:
    return gather(session, settings, ground_of(settings), model)


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a person reads: a row a group, without bins and curves."""
    drifts = found["drift"]
    return {
        **{key: value for key, value in found.items() if key not in ("running", "drift")},
        "agreement": [_row(each) for each in found["agreement"] if each["n"]],
        "state": drifts["state"],
        "drift": [
            {key: each[key] for key in _CHANGES} for each in drifts["changes"] if each["studies"]
        ],
        "new_scanners": drifts["new_scanners"],
        "alarms": drifts["alarms"],
    }


_CHANGES = (
    "split",
    "value",
    "observation",
    "studies",
    "mean_before",
    "mean",
    "present_before",
    "present",
    "not_evaluated_before",
    "not_evaluated",
    "psi",
    "ks",
    "p",
    "alarm",
)


def _row(each: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table; a figure stands with its interval, as tables show them."""
    row = {key: each[key] for key in ("split", "value", "observation", "studies", "n", "positives")}
    for name in ("sensitivity", "specificity", "ppv"):
        figure = each[name]
        row |= {name: figure["value"], f"{name}_low": figure["low"], f"{name}_high": figure["high"]}
    calibration = each["calibration"]
    row |= {key: calibration[key] for key in ("brier", "difference")}
    return row | {key: each[key] for key in ("abstained", "not_evaluated")}
