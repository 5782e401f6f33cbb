"""What a cohort holds, whom it left out and why, and what is too small: for people and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.deletion import salted_key
from dicom_node.models import Series, Study
from training.cohort import exclusions, members_of, superseded
from training.evaluation.attributes import sites_of
from training.impact import ERASURE
from training.listed import Listed
from training.membership import Ground, standing_of
from training.models import Cohort, CohortMember
from training.patients import read_patients
from training.query import CohortQuery
from training.standing import counted, in_words

FEW = 10
"""Patients with, or without, a finding in a fold; fewer are named: a figure on them says little."""

_FOLDS = ("train", "validation", "test")


def summarise(session: Session, cohort: Cohort, ground: Ground) -> dict[str, Any]:
    """Return digest, members by fold and exclusions by reason of a cohort, JSON-ready.

    ``superseded`` says how many members no longer stand and why, as the tables are now; it is
    empty where all do. The digest stays what it was. ``too_small`` names what there are fewer than
    ``FEW`` patients for, with the numbers.
    """
    members = [each for each in members_of(session, cohort) if not each.exclusion_reason]
    folds: dict[str, int] = {}
    for member in members:
        folds[member.fold] = folds.get(member.fold, 0) + 1
    pictures = cohort.provenance.get("leak_tests", {}).get("pictures", {})
    return {
        "name": cohort.name,
        "digest": cohort.digest,
        "frozen_at": cohort.frozen_at.isoformat(),
        "superseded": _superseded(session, cohort, ground),
        "accepted": ", ".join(cohort.query.get("accepted", [])),
        "uncalibrated": ", ".join(cohort.query.get("uncalibrated", [])),
        "unjudged": ", ".join(cohort.query.get("unjudged", [])),
        "members": len(members),
        "folds": folds,
        "exclusions": exclusions(session, cohort),
        "accepted_suspects": cohort.query.get("accepted_suspects", []),
        "images_not_compared": pictures.get("not_compared", {}),
        "targets": _targets(members),
        "too_small": list(_too_small(members)),
    }


def list_cohorts(session: Session, ground: Ground) -> list[dict[str, Any]]:
    """Return every cohort, the newest first: name, digest, members, exclusions, what stands."""
    rows = session.exec(select(Cohort).order_by(col(Cohort.id).desc()))
    found = []
    for cohort in rows:
        members = members_of(session, cohort)
        left_out = sum(bool(each.exclusion_reason) for each in members)
        found.append(
            {
                "name": cohort.name,
                "digest": cohort.digest[:12],
                "frozen_at": cohort.frozen_at.isoformat(timespec="seconds"),
                "schema": cohort.schema_name,
                "members": len(members) - left_out,
                "excluded": left_out,
                "too_small": len(
                    list(_too_small([each for each in members if not each.exclusion_reason]))
                ),
                "superseded": _superseded(session, cohort, ground),
            }
        )
    return found


def studies_of(session: Session, cohort: Cohort) -> list[dict[str, str]]:
    """Return each study with its fold, or the reason why it is in none."""
    return [
        {
            "study_instance_uid": each.study_instance_uid,
            "fold": each.fold or "-",
            "reason": each.exclusion_reason,
        }
        for each in members_of(session, cohort)
    ]


def matches_nothing(
    session: Session,
    query: CohortQuery,
    cohort: Cohort,
    ground: Ground,
    body_parts: Sequence[str] = (),
) -> list[str]:
    """Return what of a query matched nothing that the node holds: most often a slip of the pen.

    Lines of lists are named by their numbers, never by what stands there. ``body_parts`` are those
    that somebody asked for; a schema names more than any archive holds.
    """
    found = list(_unused_rules(session, query, body_parts))
    studies = list(
        session.exec(
            select(
                Study.study_instance_uid,
                Study.issuer_of_patient_id,
                Study.patient_id,
                Study.study_date,
            )
        )
    )
    patients = read_patients(session, ground.name_of)
    keys = {salted_key(uid, ground.salt) for uid, *_ in studies}
    keys |= {patients.key(issuer, value, ground.salt) for _, issuer, value, _ in studies}
    lists: list[tuple[str, Listed]] = [(f"excluded {each.kind}", each) for each in query.excluded]
    lists += [("consent", query.consent)] if query.consent else []
    for what, listed in lists:
        lines = sorted(
            line
            for key, lines in listed.keys(patients, ground.salt).items()
            if key not in keys
            for line in lines
        )
        if lines:
            found.append(f"list of {what}: {_numbered(lines)}")
    accepted = set(cohort.provenance.get("leak_tests", {}).get("suspects_accepted", []))
    found += [
        f"accepted suspect {each!r}" for each in query.accepted_suspects if each not in accepted
    ]
    if (query.first_date or query.last_date) and not any(
        query.first_date <= date and (not query.last_date or date <= query.last_date)
        for *_, date in studies
        if date
    ):
        found.append("study dates")
    if query.split and query.split.kind == "site":
        named = sites_of(session).values()
        found += [] if query.split.value in named else [f"test site {query.split.value!r}"]
    return found


def _unused_rules(session: Session, query: CohortQuery, body_parts: Sequence[str]) -> Iterator[str]:
    if query.image_rule:
        return  # its dry run says what it takes
    rows = list(
        session.exec(
            select(Series.body_part_examined, Series.series_description)
            .where(Series.modality == query.modality)
            .distinct()
        )
    )
    if not rows:
        yield f"modality {query.modality!r}"
        return
    parts = {part.upper() for part, _ in rows}
    yield from (f"body part {each!r}" for each in body_parts if each.upper() not in parts)
    matched = {each for _, said in rows for each in query.rule.matching(said)}
    yield from (f"sequence {each!r}" for each in query.sequences if each not in matched)
    if not any(query.series_description.upper() in said.upper() for _, said in rows):
        yield f"series description {query.series_description!r}"


def _numbered(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:20]))
    more = f" and {len(lines) - 20} more" if len(lines) > 20 else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"


def _targets(members: Iterable[CohortMember]) -> list[dict[str, Any]]:
    """Return patients by observation and fold: with the finding, without it, in doubt.

    One who has it at one site and not at another counts as each, and as ``both``.
    """
    return [
        {
            "observation": observation,
            "fold": fold,
            "present": len(sides["present"]),
            "absent": len(sides["absent"]),
            "both": len(sides["present"] & sides["absent"]),
            "soft": len(sides["soft"]),
        }
        for (observation, fold), sides in _patients(members).items()
    ]


def _patients(members: Iterable[CohortMember]) -> dict[tuple[str, str], dict[str, set[str]]]:
    """Return patients by observation and fold; one with both at two sites counts as both."""
    members = list(members)
    names = list(dict.fromkeys(name for each in members for name in each.targets))
    found = {
        (name, fold): {"present": set[str](), "absent": set[str](), "soft": set[str]()}
        for name in names
        for fold in _FOLDS
    }
    for each in members:
        for name, sites in each.targets.items():
            for value in sites.values():
                if value is not None:
                    side = {1.0: "present", 0.0: "absent"}.get(value, "soft")
                    found[name, each.fold][side].add(each.patient_key)
    return found


def _too_small(members: list[CohortMember]) -> Iterator[str]:
    """Yield a sentence a fold with too few patients, and one with its observations that have."""
    sides_of = _patients(members)
    for fold in _FOLDS:
        number = len({each.patient_key for each in members if each.fold == fold})
        if number < FEW:
            yield f"{fold}: {number} patients, fewer than {FEW}"
        few = [
            f"{name} ({len(sides['present'])}, {len(sides['absent'])})"
            for (name, of), sides in sides_of.items()
            if of == fold and min(len(sides["present"]), len(sides["absent"])) < FEW
        ]
        if number and few:
            yield f"{fold}: fewer than {FEW} patients with or without {', '.join(few)}"


def _superseded(session: Session, cohort: Cohort, ground: Ground) -> str:
    found = standing_of(session, ground, cohort)
    erased = sum(
        each["members"] for each in superseded(session, cohort) if each["cause"] == ERASURE
    )
    parts = (
        in_words(counted(found), len(found)),
        f"{erased} members were erased" if erased else "",
    )
    return "; ".join(part for part in parts if part)
