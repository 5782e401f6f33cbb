"""Who the patients of a cohort are, in counts alone; which scanners and sites they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlmodel import col, select

from dicom_node.database import chunks
from dicom_node.models import Report, Series, Study
from training.cards.subject import FOLDS, FreeText, Subject
from training.evaluation.attributes import age_in_years, houses_of
from training.evaluation.splits import SEVERAL, UNKNOWN, plain_name

FEW = 10
"""Patients; the ages of fewer are not told."""

OLDEST = 90
"""Years; whoever is older counts as of this age (HIPAA safe harbor, 45 CFR 164.514)."""

MARKS = ("simulat", "phantom", "synthetic")
"""Words by which data say of themselves that they are not of patients."""


def people(subject: Subject) -> dict[str, Any]:
    """Return sex, age, study years, scanners, sites, the split, and what calls itself simulated."""
    studies = studies_of(subject)
    scanners = _scanners(subject)
    sites = site_numbers(houses_of(subject.session, studies).values())
    split = subject.cohort.query.get("split") or {}
    return {
        "years": _years(studies.values()),
        "demographics_are_known": any(
            each.patient_sex or _age(each) is not None for each in studies.values()
        ),
        "demographics": [_demographics(subject, fold, studies) for fold in FOLDS],
        "scanners": _by_fold(subject, scanners, ("manufacturer", "model")),
        "sites": _by_fold(
            subject,
            {uid: (sites[name],) for uid, name in houses_of(subject.session, studies).items()},
            ("site",),
        ),
        "simulated": _simulated(subject, studies, scanners),
        "split": split_of(split, all_sites(subject, [split["site"]] if "site" in split else [])),
    }


def site_numbers(names: Iterable[str]) -> dict[str, str]:
    """Return "site 1" and so on by the name of an institution, that of most studies first.

    A card may be given away, and the name of a small practice tells much about its patients, so
    no card names one. ``unknown`` and ``several`` stay what they are.
    """
    counts = Counter(names)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    known = [name for name, _ in ranked if name not in (UNKNOWN, SEVERAL)]
    numbers = {name: f"site {number}" for number, name in enumerate(known, start=1)}
    return {UNKNOWN: UNKNOWN, SEVERAL: SEVERAL, **numbers}


def all_sites(subject: Subject, others: Iterable[str] = ()) -> dict[str, str]:
    """Return :func:`site_numbers` of the cohort, going on with sites that are not of it.

    Args:
        subject: whose cohort.
        others: institutions that a test set or a split names, in the order of their numbers.
    """
    names = houses_of(subject.session, studies_of(subject)).values()
    found = site_numbers(names)
    known = {plain_name(name): number for name, number in found.items()}
    new = len(found) - 1
    for name in others:
        if plain_name(name) not in known:
            known[plain_name(name)] = f"site {new} (not of the cohort)"
            new += 1
        found.setdefault(name, known[plain_name(name)])
    return found


def split_of(split: Mapping[str, str], sites: Mapping[str, str]) -> dict[str, str]:
    """Return a split by time or site with the number of its site; empty where there is none."""
    numbers = {plain_name(name): number for name, number in sites.items()}
    return {
        kind: numbers[plain_name(value)] if kind == "site" else f"from {value} on"
        for kind, value in split.items()
    }


def studies_of(subject: Subject) -> dict[str, Study]:
    """Return the rows of the members' studies by Study Instance UID."""
    uids = sorted(each.study_instance_uid for each in subject.members)
    return {
        row.study_instance_uid: row
        for chunk in chunks(uids)
        for row in subject.session.exec(
            select(Study).where(col(Study.study_instance_uid).in_(chunk))
        )
    }


def _scanners(subject: Subject) -> dict[str, tuple[str, str]]:
    """Return manufacturer and model by study, of its first series of the cohort's modality."""
    uids = sorted(each.study_instance_uid for each in subject.members)
    found: dict[str, tuple[str, str]] = {}
    for chunk in chunks(uids):
        rows = subject.session.exec(
            select(Series.study_instance_uid, Series.manufacturer, Series.manufacturer_model_name)
            .where(
                col(Series.study_instance_uid).in_(chunk),
                Series.modality == subject.cohort.query["modality"],
            )
            .order_by(col(Series.series_instance_uid))
        )
        for uid, manufacturer, model in rows:
            found.setdefault(uid, (manufacturer, model))
    return found


def _by_fold(
    subject: Subject, values: dict[str, Sequence[str]] | dict[str, Any], names: Sequence[str]
) -> list[dict[str, Any]]:
    counts: Counter[tuple[tuple[str, ...], str]] = Counter()
    for member in subject.members:
        counts[tuple(values.get(member.study_instance_uid, ("",) * len(names))), member.fold] += 1
    keys = sorted({key for key, _ in counts})
    return [
        {
            **{name: FreeText(each) for name, each in zip(names, key, strict=True)},
            **{fold: counts[key, fold] for fold in FOLDS},
        }
        for key in keys
    ]


def _years(studies: Iterable[Study]) -> dict[str, Any] | None:
    known = (each.study_date[:4] for each in studies)
    years = sorted(each for each in known if _are_digits(each))
    return {"first": int(years[0]), "last": int(years[-1])} if years else None


def _demographics(subject: Subject, fold: str, studies: dict[str, Study]) -> dict[str, Any]:
    """Return sex and age of the patients of a fold; each patient counts once, by one study."""
    first: dict[str, Study] = {}
    for member in subject.of_fold(fold):
        if member.study_instance_uid in studies:
            first.setdefault(member.patient_key, studies[member.study_instance_uid])
    sexes = Counter(each.patient_sex or "unknown" for each in first.values())
    ages = [age for each in first.values() if (age := _age(each)) is not None]
    enough = len(ages) >= FEW
    quartiles = np.percentile(ages, [25, 50, 75]) if enough else (None, None, None)
    return {
        "fold": fold,
        "female": sexes["F"],
        "male": sexes["M"],
        "other_or_unknown": sum(sexes.values()) - sexes["F"] - sexes["M"],
        "age_known": len(ages),
        **{
            name: None if value is None else round(float(value))
            for name, value in zip(
                ("age_lower_quartile", "age_median", "age_upper_quartile"), quartiles, strict=True
            )
        },
    }


def _age(study: Study) -> int | None:
    years = age_in_years(study.patient_birth_date, study.study_date)
    return None if years is None else min(years, OLDEST)


def _are_digits(text: str) -> bool:
    """Tell whether a text is of the digits 0 to 9; others are digits to Python, too."""
    return text.isascii() and text.isdigit()


def _simulated(
    subject: Subject, studies: dict[str, Study], scanners: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    """Return of how many studies images or reports call themselves simulated."""
    images = [uid for uid, names in scanners.items() if is_marked(*names)]
    described = [
        uid
        for uid, each in studies.items()
        if is_marked(each.study_description, each.issuer_of_patient_id)
    ]
    senders = _senders(subject)
    reports = [key for key, sender in senders.items() if is_marked(sender, *_feed(subject, sender))]
    return {
        "studies": len(studies),
        "studies_of_simulated_scanners": len(images),
        "studies_called_simulated": len(described),
        "reports": len(senders),
        "reports_of_simulated_senders": len(reports),
        "any": bool(images or described or reports),
    }


def _feed(subject: Subject, sender: str) -> list[str]:
    return [subject.feeds[sender]] if sender in subject.feeds else []


def _senders(subject: Subject) -> dict[int, str]:
    keys = sorted({each.report_id for each in subject.members if each.report_id is not None})
    return {
        key: sender
        for chunk in chunks(keys)
        for key, sender in subject.session.exec(
            select(Report.id, Report.sender).where(col(Report.id).in_(chunk))
        )
        if key is not None
    }


def is_marked(*texts: str) -> bool:
    """Tell whether a text says of itself that it is of no patient (``MARKS``)."""
    return any(mark in text.casefold() for text in texts for mark in MARKS)
