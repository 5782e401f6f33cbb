"""Stored samples: which subjects were drawn for readers, and with which probability."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlmodel import Session, col, select

from labeling.errors import Permanent
from labeling.evaluation.sampling import Drawn
from labeling.models import ReferenceSample, SampledSubject

_SHORTEST = 6


class Membership(NamedTuple):
    """A subject's place in a sample: the sample's row and digest, its readers, and the draw."""

    row: int
    sample: str
    readers: int
    stratum: str
    probability: float


def memberships(session: Session, level: str) -> dict[str, dict[str, Membership]]:
    """Return by subject and sample's digest where the drawn subjects of a level belong."""
    found: dict[str, dict[str, Membership]] = {}
    rows = session.exec(
        select(ReferenceSample, SampledSubject)
        .join(SampledSubject, col(SampledSubject.sample_id) == col(ReferenceSample.id))
        .where(ReferenceSample.level == level)
    )
    for sample, each in rows:
        found.setdefault(each.subject, {})[sample.digest] = Membership(
            sample.id or 0, sample.digest, sample.readers, each.stratum, each.probability
        )
    return found


def store_sample(
    session: Session, sample: ReferenceSample, drawn: Sequence[Drawn]
) -> ReferenceSample:
    """Store a sample with its subjects; its digest covers both. The caller commits.

    Raises:
        Permanent: the same sample was drawn before.
    """
    sample.digest = _digest(sample, drawn)
    if session.exec(select(ReferenceSample).where(ReferenceSample.digest == sample.digest)).first():
        raise Permanent("this very sample was drawn before: radloop reference worksheets")
    session.add(sample)
    session.flush()
    for each in drawn:
        session.add(
            SampledSubject(
                sample_id=sample.id or 0,
                subject=each.subject,
                stratum=each.stratum,
                probability=each.probability,
            )
        )
    session.flush()
    return sample


def find_sample(session: Session, digest: str) -> ReferenceSample:
    """Return the sample whose digest begins so.

    Raises:
        Permanent: there is none, there are several, or the beginning is too short.
    """
    query = select(ReferenceSample).where(col(ReferenceSample.digest).startswith(digest))
    found = session.exec(query).all() if len(digest) >= _SHORTEST else []
    if len(found) != 1:
        raise Permanent(
            "no stored sample has a digest that begins so: radloop reference samples lists them"
            if not found
            else "several samples have a digest that begins so: give more of it"
        )
    return found[0]


def subjects_of(session: Session, sample: ReferenceSample) -> list[SampledSubject]:
    """Return the subjects of a sample, in their own order."""
    query = select(SampledSubject).where(SampledSubject.sample_id == sample.id)
    return list(session.exec(query.order_by(col(SampledSubject.subject))))


def drawn_subjects(
    session: Session, level: str, observations: Collection[str] | None = None
) -> set[str]:
    """Return every subject of a level that was ever drawn.

    Args:
        session: any session.
        level: "report", "image" or "file".
        observations: only samples whose readers are asked about one of these; None: all samples.
    """
    samples = session.exec(select(ReferenceSample).where(ReferenceSample.level == level))
    wanted = [
        each.id
        for each in samples
        if observations is None or any(name in observations for name, _ in each.places)
    ]
    query = select(SampledSubject.subject).where(col(SampledSubject.sample_id).in_(wanted))
    return set(session.exec(query))


def _digest(sample: ReferenceSample, drawn: Sequence[Drawn]) -> str:
    names = ("level", "design", "seed", "frame_size", "frame", "n", "readers", "strata", "places")
    content = {name: getattr(sample, name) for name in names}
    content["drawn"] = sorted([each.subject, each.stratum, each.probability] for each in drawn)
    content["drawn_at"] = sample.drawn_at.isoformat()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
