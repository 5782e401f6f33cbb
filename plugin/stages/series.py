"""Questions about series rules: which there are, and what one picks in the archive, and why."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.models import Instance, Series
from dicom_node.storage import DicomStore
from dicom_node.studies import frozen_studies, studies_with_images
from plugin.context import Progress, sandbox_of
from plugin.errors import Permanent
from plugin.settings import Settings
from training.images.archive import choose_in_study
from training.images.choosing import Chosen
from training.images.rule_file import load_rule, shipped_rules
from training.images.series_rule import ImageSeriesRule

_FIGURE = re.compile(r"(?<![\w.])\d+(\.\d+)?(?![\w])")
_FROZEN = "the study is frozen: objects of it are in dispute"
_EVERY = 100


def list_rules() -> dict[str, Any]:
    """Return the rules that ship: name, what for, modality, geometry."""
    rules = [load_rule(name) for name in shipped_rules()]
    return {
        "rules": [
            {
                "rule": rule.name,
                "title": rule.title,
                "modality": list(rule.modalities),
                "geometry": rule.geometry,
                "prefer": list(rule.prefer),
            }
            for rule in rules
        ]
    }


def try_rule(
    session: Session, settings: Settings, arguments: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Return what a rule picks of every study with images, or of one, and why; headers only.

    Args:
        session: any session.
        settings: of the node.
        arguments: "rule" (a name or a file), "study" ("" for all), "details" (every series).
        progress: told how many studies were looked at.

    Raises:
        training.errors.Permanent: there is no such rule.
        Permanent: no image of such a study is indexed.
        training.errors.Transient: a file cannot be read from disk.
    """
    rule = load_rule(arguments["rule"])
    studies, frozen = _studies(session, arguments["study"]), frozen_studies(session)
    store = DicomStore(settings.data_folder)
    rows: list[dict[str, Any]] = []
    series: list[dict[str, Any]] = []
    with sandbox_of(settings) as sandbox:
        for number, uid in enumerate(studies):
            if number and number % _EVERY == 0:
                progress(f"{number} of {len(studies)} studies")
            if uid in frozen:
                rows.append(_row(uid, None, _FROZEN))
                continue
            chosen = choose_in_study(session, store, sandbox, uid, rule)
            rows.append(_row(uid, chosen, chosen.why))
            if arguments["details"]:
                series += _series_rows(session, uid, chosen)
    return _result(rule, rows, series)


def _studies(session: Session, wanted: str) -> list[str]:
    found = studies_with_images(session)
    if wanted and wanted not in found:
        raise Permanent("no image of a study with this UID is indexed")
    return [wanted] if wanted else found


def _row(uid: str, chosen: Chosen | None, why: str) -> dict[str, Any]:
    taken = chosen.taken if chosen else None
    return {
        "study_instance_uid": uid,
        "takes": taken.series_instance_uid if taken else None,
        "images": len(taken.images) if taken else 0,
        "why": why,
    }


def _series_rows(session: Session, study: str, chosen: Chosen) -> list[dict[str, Any]]:
    named = {
        each.series_instance_uid: each
        for each in session.exec(select(Series).where(Series.study_instance_uid == study))
    }
    return [
        {
            "series_instance_uid": each.series_instance_uid,
            "study_instance_uid": study,
            "number": named[each.series_instance_uid].series_number,
            "modality": named[each.series_instance_uid].modality,
            "objects": _objects(session, each.series_instance_uid),
            "fitting": len(each.images),
            "taken": "yes" if each.taken else "no",
            "why": each.why,
            "remarks": list(each.remarks),
        }
        for each in chosen.verdicts
    ]


def _objects(session: Session, series: str) -> int:
    where = col(Instance.series_instance_uid) == series
    return len(session.exec(select(Instance.digest).where(where)).all())


def _result(
    rule: ImageSeriesRule, rows: list[dict[str, Any]], series: list[dict[str, Any]]
) -> dict[str, Any]:
    taken = sum(row["takes"] is not None for row in rows)
    reasons = Counter(_FIGURE.sub("n", row["why"]) for row in rows)
    details = {"series": series} if series else {}
    return {
        "rule": rule.name,
        "title": rule.title,
        "digest": rule.digest,
        "studies": rows,
        **details,
        "counts": {"studies": len(rows), "taken": taken, "not taken": len(rows) - taken},
        "reasons": [
            {"studies": count, "why": why}
            for why, count in sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
        ],
    }
