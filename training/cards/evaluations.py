"""What test sets said of the model when they were opened under a plan (training.evaluation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import col, select

from training.cards.people import site_numbers, studies_of
from training.cards.subject import FreeText, Subject
from training.evaluation.attributes import houses_of
from training.evaluation.models import EvaluationPlan, Opening
from training.evaluation.openings import looks_at
from training.evaluation.subgroups import tellable
from training.metrics import DECIDED, RANKED

_COUNTS = ("n", "positives", "patients", "not_evaluated")
_FIGURES = (*RANKED, *DECIDED)
_CALIBRATED = ("brier", "brier_of_prevalence", "slope", "intercept", "calibration_error")


def evaluations(subject: Subject) -> list[dict[str, Any]]:
    """Return every plan about the model, the earliest first, with figures of its newest opening.

    A plan whose test set nobody opened, or whose evaluation was interrupted, stands without
    figures: that it exists is told, too.
    """
    session, reference = subject.session, f"{subject.model.name}:{subject.model.version}"
    plans = session.exec(select(EvaluationPlan).order_by(col(EvaluationPlan.id))).all()
    return [
        _plan(subject, plan, reference)
        for plan in plans
        if any(each["reference"] == reference for each in plan.content["models"])
    ]


def _plan(subject: Subject, plan: EvaluationPlan, reference: str) -> dict[str, Any]:
    openings = subject.session.exec(
        select(Opening).where(Opening.plan_id == plan.id).order_by(col(Opening.id))
    ).all()
    finished = [each for each in openings if each.figures]
    return {
        "plan": FreeText(plan.name),
        "digest": plan.digest,
        "frozen_by": FreeText(plan.frozen_by),
        "frozen_at": plan.frozen_at.isoformat(),
        "test_set": plan.content["test_set"],
        "studies": plan.content["studies"],
        "openings": len(openings),
        "finished": len(finished),
        **(_opened(subject, finished[-1], reference) if finished else _UNOPENED),
    }


_UNOPENED: Mapping[str, Any] = {
    "opened_by": "",
    "opened_at": "",
    "looks": "",
    "called": "",
    "primary": None,
    "observations": [],
    "subgroups": [],
    "comparison": [],
}


def _opened(subject: Subject, opening: Opening, reference: str) -> dict[str, Any]:
    figures = opening.figures
    sites = site_numbers(houses_of(subject.session, studies_of(subject)).values())
    (own,) = (each for each in figures["models"] if each["model"] == reference)
    return {
        "opened_by": FreeText(opening.opened_by),
        "opened_at": opening.opened_at.isoformat(),
        "looks": looks_at(subject.session, opening).sentence,
        "called": figures["called"],
        "primary": figures["primary"],
        "observations": [
            _observation(name, each, own["calibration"][name])
            for name, each in own["observations"].items()
        ],
        "subgroups": [_subgroup(each, sites) for each in tellable(own["subgroups"])],
        "comparison": _comparison(figures["comparison"]),
    }


def _observation(
    name: str, each: Mapping[str, Any], calibration: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "observation": name,
        **{key: each[key] for key in (*_COUNTS, "threshold", *_FIGURES)},
        **{key: calibration[key] for key in _CALIBRATED},
    }


def _subgroup(each: Mapping[str, Any], sites: Mapping[str, str]) -> dict[str, Any]:
    shown = {key: each[key] for key in ("n", "positives", "patients", *_FIGURES, "brier", "note")}
    group = each["group"]
    if each["attribute"] == "site":
        group = sites.get(group, "a site of no member")
    return {
        "attribute": each["attribute"],
        "group": FreeText(group),  # a scanner, as images name it
        "observation": each["observation"],
        **shown,
    }


def _comparison(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the paired difference of AUROC, of a plan with two models."""
    return [
        {
            "first": told["first"],
            "second": told["second"],
            "observation": name,
            "n": each["n"],
            "auroc_difference": each["difference"]["auroc"],
            "p": each["p_delong"],
            "p_note": each.get("p_note", ""),
        }
        for name, each in told.get("observations", {}).items()
    ]
