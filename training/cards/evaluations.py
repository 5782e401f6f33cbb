"""What test sets said of the model when they were opened under a plan (training.evaluation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import col, select

from training.cards.people import all_sites, split_of
from training.cards.subject import FreeText, Subject
from training.errors import Permanent
from training.evaluation.intact import intact_plan
from training.evaluation.models import EvaluationPlan, Opening
from training.evaluation.openings import looks_at, openings_of
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
    session, reference = subject.session, subject.model.reference
    rows = session.exec(select(EvaluationPlan).order_by(col(EvaluationPlan.id))).all()
    plans = [each for each in rows if reference in _models(subject, each)]
    sites = all_sites(subject, [each for plan in plans for each in _sites_in(subject, plan)])
    return [_plan(subject, each, reference, sites) for each in plans]


def _models(subject: Subject, plan: EvaluationPlan) -> set[str]:
    """Return the models that a plan names, or that its figures are of, should it be altered."""
    opened = (
        model["model"]
        for opening in openings_of(subject.session, plan.id or 0)
        for model in opening.figures.get("models", ())
    )
    return {*opened, *(each["reference"] for each in plan.content.get("models", ()))}


def _sites_in(subject: Subject, plan: EvaluationPlan) -> list[str]:
    """Return the institutions that figures of a plan, or its split, name, in a stable order."""
    groups = {
        row["group"]
        for opening in openings_of(subject.session, plan.id or 0)
        for model in opening.figures.get("models", ())
        for row in model["subgroups"]
        if row["attribute"] == "site"
    }
    split = (plan.content.get("split") or {}).get("site")
    return sorted({*groups, *([split] if split else [])})


def _plan(
    subject: Subject, plan: EvaluationPlan, reference: str, sites: Mapping[str, str]
) -> dict[str, Any]:
    told = {
        "plan": FreeText(plan.name),
        "digest": plan.digest,
        "frozen_by": FreeText(plan.frozen_by),
        "frozen_at": plan.frozen_at.isoformat(),
    }
    try:
        content = intact_plan(subject.session, plan)
    except Permanent:
        return {**told, **_ALTERED, **_UNOPENED}
    openings = openings_of(subject.session, plan.id or 0)
    finished = [each for each in openings if each.figures]
    return {
        **told,
        "altered": False,
        "test_set": content.test_set,
        "studies": content.studies,
        "split": split_of(content.split or {}, sites),
        "planned_primary": " of ".join(reversed(content.primary)),
        "openings": len(openings),
        "finished": len(finished),
        **(_opened(subject, finished[-1], reference, sites) if finished else _UNOPENED),
    }


_ALTERED: Mapping[str, Any] = {
    "altered": True,
    "test_set": "",
    "studies": None,
    "split": {},
    "planned_primary": "",
    "openings": None,
    "finished": 0,
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


def _opened(
    subject: Subject, opening: Opening, reference: str, sites: Mapping[str, str]
) -> dict[str, Any]:
    figures = opening.figures
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
        group = sites[group]
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
