"""The test fold of a cohort as it stands now: members, reference labels, images; what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from labeling.reader_labels import ReaderLabel, reader_labels
from labeling.reference import reference_states
from labeling.reference_file import Place
from labeling.vocabulary import LabelSchema
from training.cohort import members_of
from training.errors import Permanent
from training.evaluation.models import EvaluationMember
from training.evidence import UNSAMPLED
from training.manifest import digest_of, labels_digest
from training.membership import Ground, standing_of
from training.models import Cohort
from training.selection import SeriesRule, images
from training.standing import Fault
from training.targets import Targets, targets_of

_HARMLESS = frozenset({Fault.MOVED})
"""What does not change a test set: the same patient under another identity."""

LABELS = "other reference labels"
IMAGES = "other images"
GONE = "not in the test set any more"
ADDED = "not in the test set before"
ERASED = "erased"


@dataclass(frozen=True)
class Item:
    """A study of the test set as it stands now.

    Args:
        fault: why it does not stand any more (``training.standing``); empty where it does.
        weight: one over the probability of being drawn for the readers; None: nobody knows.
        lacks: whether a reader's label on it was not sampled, blinded and settled.
    """

    study_instance_uid: str
    patient_key: str
    labels_sha256: str
    images_digest: str
    targets: Targets
    fault: str = ""
    weight: float | None = None
    lacks: bool = False


Known = Item | EvaluationMember
"""What identifies a member of a test set."""


@dataclass(frozen=True)
class Change:
    """What became of a study of a test set; the study is empty where it was erased."""

    study_instance_uid: str
    what: str


def read_test_set(
    session: Session, ground: Ground, cohort: Cohort, schema: LabelSchema
) -> list[Item]:
    """Return the test members of a cohort with the readers' labels and images as they are now.

    Args:
        session: any session.
        ground: how patients are told apart.
        cohort: a frozen one.
        schema: that it was frozen by.

    Raises:
        Permanent: the schema is another one by now, or the cohort tests on nothing.
    """
    if schema.digest != cohort.schema_digest:
        raise Permanent("the cohort was frozen by another version of the label schema")
    standings = [
        each for each in standing_of(session, ground, cohort) if each.member.fold == "test"
    ]
    if not standings:
        raise Permanent("the cohort has no test fold: readers' labels of images make one")
    studies = [each.member.study_instance_uid for each in standings]
    deserving = UNSAMPLED not in cohort.query.get("accepted", ())
    states = reference_states(session, "image", studies, deserving=deserving)
    read = reader_labels(session, "image", studies)
    fitting = images(session, SeriesRule.of_record(cohort.query), studies)
    known = {each.id for each in schema.observations}
    items = []
    for each in standings:
        uid = each.member.study_instance_uid
        own = {place: state for place, state in states.get(uid, {}).items() if place[0] in known}
        fault = each.fault if each.fault not in _HARMLESS else None
        items.append(
            Item(
                study_instance_uid=uid,
                patient_key=each.member.patient_key,
                labels_sha256=labels_digest(own, {}, {}),
                images_digest=fitting.get(uid, ""),
                targets=targets_of(own, schema, "mask", own_policies=False),
                fault=str(fault) if fault else "",
                weight=_weight(read.get(uid, {})),
                lacks=any(read[uid][place].lacks for place in own),
            )
        )
    return items


def _weight(places: Mapping[Place, ReaderLabel]) -> float | None:
    """Return the weight of a study that was drawn; the least where samples differ."""
    return min((each.weight for each in places.values() if each.weight is not None), default=None)


def digest_of_test_set(items: Iterable[Known]) -> str:
    """Return SHA-256 over the members of a test set, their reference labels and their images."""
    rows = sorted(
        [each.study_instance_uid, each.patient_key, each.labels_sha256, each.images_digest]
        for each in items
    )
    return digest_of({"test_set": rows})


def changes(planned: Sequence[Known], count: int, now: Sequence[Item]) -> list[Change]:
    """Return what became of a test set since a plan was frozen on it.

    Args:
        planned: rows of the plan; those of erased patients are gone.
        count: how many there were.
        now: from :func:`read_test_set`.
    """
    present = {each.study_instance_uid: each for each in now}
    found = [Change("", ERASED) for _ in range(count - len(planned))]
    for each in planned:
        uid = each.study_instance_uid
        item = present.pop(uid, None)
        found += [Change(uid, what) for what in _differences(each, item)]
    return found + [Change(uid, ADDED) for uid in sorted(present)]


def in_words(changes: Iterable[Change]) -> str:
    """Return how many studies each change befell, without naming them."""
    counts: dict[str, int] = {}
    for each in changes:
        counts[each.what] = counts.get(each.what, 0) + 1
    return ", ".join(f"{number}: {what}" for what, number in counts.items())


def not_as_frozen(session: Session, cohort: Cohort, items: Sequence[Item]) -> list[Change]:
    """Return which studies are not what the cohort was frozen with."""
    frozen = {
        each.study_instance_uid: each for each in members_of(session, cohort) if each.fold == "test"
    }
    found = []
    for item in items:
        member = frozen[item.study_instance_uid]
        if member.targets != item.targets:
            found.append(Change(item.study_instance_uid, LABELS))
        if item.fault:
            found.append(Change(item.study_instance_uid, item.fault))
    return found


def _differences(planned: Known, item: Item | None) -> list[str]:
    if item is None:
        return [GONE]
    if item.fault:
        return [item.fault]
    return [
        what
        for what, same in (
            (LABELS, planned.labels_sha256 == item.labels_sha256),
            (IMAGES, planned.images_digest == item.images_digest),
        )
        if not same
    ]
