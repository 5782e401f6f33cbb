"""What the model learned from: the cohort, whose patients, whose labels, from which scanners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from training.cards.labeler import labeler
from training.cards.people import people
from training.cards.privacy import without_uids
from training.cards.subject import FOLDS, FreeText, Subject
from training.models import CohortMember

_COUNTED = ("accepted_suspects", "split")  # names of persons, of a site: told otherwise


def training_data(subject: Subject) -> dict[str, Any]:
    """Return cohort, query, folds, targets, exclusions, labeler and who the patients are."""
    cohort = subject.cohort
    query = {key: value for key, value in cohort.query.items() if key not in _COUNTED}
    return {
        "cohort": FreeText(cohort.name),
        "digest": cohort.digest,
        "frozen_at": cohort.frozen_at.isoformat(),
        "query": {key: _free(value) for key, value in query.items()},
        "accepted_suspects": len(cohort.query.get("accepted_suspects", [])),
        "leak_tests": {
            "pictures": cohort.provenance.get("leak_tests", {}).get("pictures") or None,
            "split": "by patient: a salted key of the identity that survived all merges decides",
        },
        "folds": [_fold(subject, fold) for fold in FOLDS],
        "targets": targets(subject.members, subject.observations),
        "uncertain_policy": cohort.query.get("uncertain_policy"),
        "soft_share_of_training_targets": soft_share(subject.of_fold("train")),
        "accepted_shortcomings": list(cohort.query.get("accepted", [])),
        "uncalibrated": list(cohort.query.get("uncalibrated", [])),
        "unjudged": list(cohort.query.get("unjudged", [])),
        "excluded_studies": len(subject.excluded),
        "exclusions": counted(each.exclusion_reason for each in subject.excluded),
        "members_not_used": len(subject.record.get("not_used", [])),
        "not_used": counted(
            f"{each['fold']}: {each['reason']}" for each in subject.record.get("not_used", [])
        ),
        "left_out_frozen": len(subject.record.get("left_out", [])),
        "examples": subject.record.get("counts"),
        "labeler": labeler(subject),
        **people(subject),
    }


def _fold(subject: Subject, fold: str) -> dict[str, Any]:
    members = subject.of_fold(fold)
    return {
        "fold": fold,
        "studies": len(members),
        "patients": len({each.patient_key for each in members}),
        "labels_from": "readers of the images" if fold == "test" else "the labeler, of reports",
    }


def targets(members: Sequence[CohortMember], observations: Sequence[str]) -> list[dict[str, Any]]:
    """Return by observation and fold how many targets and patients are present, absent, soft.

    A patient with the finding at one site and without it at another counts on both sides.
    """
    found = []
    for name in observations:
        for fold in FOLDS:
            sides: dict[str, list[str]] = {each: [] for each in ("present", "absent", "soft")}
            unknown = 0
            for member in members:
                if member.fold != fold:
                    continue
                for value in member.targets.get(name, {}).values():
                    if value is None:
                        unknown += 1
                    else:
                        sides[_side(value)].append(member.patient_key)
            row: dict[str, Any] = {"observation": name, "fold": fold}
            for side, keys in sides.items():
                row |= {f"{side}_targets": len(keys), f"{side}_patients": len(set(keys))}
            found.append({**row, "unknown_targets": unknown})
    return found


def _side(value: float) -> str:
    return {1.0: "present", 0.0: "absent"}.get(value, "soft")


def soft_share(members: Iterable[CohortMember]) -> float | None:
    """Return the share of known targets that are probabilities; None where nothing is known."""
    known = [
        value
        for member in members
        for sites in member.targets.values()
        for value in sites.values()
        if value is not None
    ]
    return sum(_side(each) == "soft" for each in known) / len(known) if known else None


def counted(reasons: Iterable[str]) -> list[dict[str, Any]]:
    """Return how often each reason stands, the most frequent first; UIDs in them become a word."""
    counts = Counter(without_uids(each) for each in reasons)
    return [
        {"reason": FreeText(reason), "count": number}
        for reason, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _free(value: Any) -> Any:
    if isinstance(value, str):
        return FreeText(value)
    if isinstance(value, list):
        return [_free(each) for each in value]
    return {key: _free(each) for key, each in value.items()} if isinstance(value, dict) else value
