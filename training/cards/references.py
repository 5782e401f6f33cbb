"""Against whose labels the model was tested: how they were sampled, blinded, adjudicated."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlmodel import col, select

from labeling.evaluation.weights import unequal
from labeling.models import ReferenceSample
from labeling.reader_labels import ReaderLabel, labels_of, reader_labels
from labeling.reference_file import ADJUDICATOR
from training.cards.people import is_marked
from training.cards.subject import Subject


def reference_labels(subject: Subject) -> dict[str, Any]:
    """Return counts of the readers' labels on images of the test fold, and how they came to be.

    ``deserving`` are those that were sampled, blinded and settled; ``lacking`` says why others are
    not. Readers are counted and not named.
    """
    studies = [each.study_instance_uid for each in subject.of_fold("test")]
    names = set(subject.observations)
    given = [
        (place[0], label)
        for places in reader_labels(subject.session, "image", studies).values()
        for place, label in places.items()
        if place[0] in names
    ]
    rows = [row for row in labels_of(subject.session, "image", studies) if row.observation in names]
    readers = {row.reader for row in rows}
    labels = [label for _, label in given]
    return {
        "level": "image",
        "studies": len(studies),
        "labels": len(labels),
        "deserving": sum(not each.lacks for each in labels),
        "lacking": [
            {"reason": reason, "count": count}
            for reason, count in Counter(e.lacks for e in labels if e.lacks).most_common()
        ],
        "readers": len({row.reader for row in rows if row.role != ADJUDICATOR}),
        "adjudicators": len({row.reader for row in rows if row.role == ADJUDICATOR}),
        "adjudicated": len(
            {(r.subject, r.observation, r.site) for r in rows if r.role == ADJUDICATOR}
        ),
        "simulated_readers": sum(is_marked(each) for each in readers),
        "blinded": dict(Counter(row.blinded or "not said" for row in rows)),
        "blinding_is_known": bool(rows) and all(row.blinded for row in rows),
        "readings": len(rows),
        "drawn_unequally": unequal(each.weight for each in labels),
        "between_readers": _between(rows),
        "states": _states(given),
        "samples": _samples(subject, {each.sample for each in labels if each.sample}),
    }


def _between(rows: list[Any]) -> dict[str, Any]:
    """Return on how many places that several readers read, without adjudicator, all agree."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row.role != ADJUDICATOR:
            places.setdefault((row.subject, row.observation, row.site), []).append(row.state)
    several = [states for states in places.values() if len(states) > 1]
    agreed = sum(len(set(states)) == 1 for states in several)
    return {
        "places_read_by_several": len(several),
        "agreed": agreed,
        "share_agreed": agreed / len(several) if several else None,
    }


def _states(given: list[tuple[str, ReaderLabel]]) -> list[dict[str, Any]]:
    found: dict[str, Counter[str]] = {}
    for name, label in given:
        state = "disputed" if label.state is None else str(label.state)
        found.setdefault(name, Counter())[state] += 1
    columns = ("present", "absent", "uncertain", "not_mentioned", "stable_unknown", "disputed")
    return [
        {"observation": name, **{each: counts[each] for each in columns}}
        for name, counts in found.items()
    ]


def _samples(subject: Subject, digests: set[str]) -> list[dict[str, Any]]:
    query = (
        select(ReferenceSample)
        .where(col(ReferenceSample.digest).in_(sorted(digests)))
        .order_by(col(ReferenceSample.id))
    )
    return [
        {
            "digest": row.digest,
            "design": row.design,
            "seed": row.seed,
            "frame": row.frame_size,
            "drawn": row.n,
            "readers_needed": row.readers,
            "planned": row.planning.get("n"),
            "drawn_at": row.drawn_at.isoformat(),
        }
        for row in subject.session.exec(query)
    ]
