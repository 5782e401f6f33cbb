"""What a set of events about identities comes to, taken in the order of the events' own times.

A merge makes the prior identity part of the surviving one. An un-merge takes it back as if it had
never been said. What cannot be trusted suspends the patients concerned; the reasons are a table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.linking.identifiers import NOBODY, Identifier, same_issuer
from dicom_node.linking.names import changed

SEEN = "seen"  # what an image or report says; it counts until the first message about the patient
UPDATE = "update"
CHANGE = "change"
MERGE = "merge"
MOVE = "move"
UNLINK = "unlink"

_RANK = {SEEN: 0, CHANGE: 1, UPDATE: 2, MERGE: 3, MOVE: 4, UNLINK: 5}
"""The order of events of one time: the last word is that of the one that joins the least."""

_JOINING = frozenset({CHANGE, MERGE, MOVE})
_REVERSAL = dt.timedelta(hours=24)

REASONS = {
    "reversed": "a merge of patients was reversed within 24 hours",
    "two survivors": "one patient identifier was merged into two different patients",
    "different people": "patients were merged whose birth dates and sexes or names differ",
    "overwritten": "an update changed the birth date together with the sex or the name",
    "moved": "a patient identifier was moved to another patient",
    "id in use": "a patient identifier was changed to one that was in use, or of another issuer",
    "unclear un-merge": "an un-merge names patients that were merged only by way of others",
    "merged again": "patients were merged again after a person had taken their merge back",
}
"""Why the links of a patient are suspended, in plain words."""


@dataclass(frozen=True, slots=True)
class Event:
    """What one message, or a person, said about identities; identifiers under their one issuer.

    Args:
        action: a value of ``hl7.parsed.PatientAction``, or ``seen``.
        time: comparable text (``hl7.times.comparable``); empty where it is unknown.
        patient: the surviving identity, or the one that was updated.
        prior: the identity that was merged, changed or moved; or the other one of an un-merge.
        name: DICOM PN; with ``birth_date`` (DA) and ``sex`` what is said about ``patient``.
        decided_by: a person; empty for a message.
    """

    action: str
    time: str
    patient: Identifier
    prior: Identifier = NOBODY
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    decided_by: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Suspension:
    """Why the links of some patients wait for a person; ``kind`` is a key of ``REASONS``."""

    kind: str
    identifiers: tuple[Identifier, ...]
    said: tuple[str, ...] = ()  # what makes it another one than the next of its kind


@dataclass(frozen=True, slots=True)
class Remark:
    """An event that had no effect, or a doubtful one, and why; no value of the patient in it."""

    event: Event
    text: str


class Fold:
    """One pass over events in the order of time."""

    def __init__(self, ordered: Sequence[Event]) -> None:
        self.forward: dict[Identifier, Identifier] = {}
        self.suspensions: list[Suspension] = []
        self.remarks: list[Remark] = []
        self.standing = self._moved(self._sound(ordered))
        self._since: dict[Identifier, str] = {}
        self._told: set[Identifier] = set()  # of whom a message was about
        self._torn: list[tuple[Identifier, Identifier, Identifier]] = []
        for event in self.standing:
            self._join(event)
        for prior, one, other in self._torn:
            if root_of(self.forward, one) != root_of(self.forward, other):
                self._suspend("two survivors", prior, one, other)
        self._compare_people(ordered)

    def _suspend(self, kind: str, *identifiers: Identifier, said: tuple[str, ...] = ()) -> None:
        self.suspensions.append(Suspension(kind, tuple(sorted(set(identifiers))), said))

    def _sound(self, ordered: Sequence[Event]) -> list[Event]:
        """Return the merges that are sound and were not taken back later, in order."""
        sound: list[Event] = []
        taken_back: dict[frozenset[Identifier], str] = {}
        for event in ordered:
            if event.action == UNLINK:
                sound = self._take_back(sound, event)
                if event.decided_by:
                    taken_back[frozenset((event.prior, event.patient))] = event.decided_by
            elif event.action in _JOINING:
                if refusal := _refusal(event):
                    self.remarks.append(Remark(event, refusal))
                    continue
                sound.append(event)
        for event in sound if taken_back else ():
            if frozenset((event.prior, event.patient)) in taken_back:
                self._suspend("merged again", event.prior, event.patient)
        return sound

    def _moved(self, sound: list[Event]) -> list[Event]:
        """Leave out the earlier merges of identifiers that were moved to another patient."""
        standing: list[Event] = []
        for event in sound:
            if event.action == MOVE:
                standing = [each for each in standing if each.prior != event.prior]
                self._suspend("moved", event.prior, event.patient)
            standing.append(event)
        return standing

    def _take_back(self, sound: list[Event], event: Event) -> list[Event]:
        pair = {event.prior, event.patient}
        kept = [each for each in sound if {each.prior, each.patient} != pair]
        if len(kept) == len(sound):
            joined: dict[Identifier, Identifier] = {}
            for each in sound:
                one, other = root_of(joined, each.prior), root_of(joined, each.patient)
                if one != other:
                    joined[one] = other
            if root_of(joined, event.prior) == root_of(joined, event.patient):
                self._suspend("unclear un-merge", event.prior, event.patient)
            self.remarks.append(Remark(event, "there is no merge of these two to take back"))
        return kept

    def _join(self, event: Event) -> None:
        prior, patient = event.prior, event.patient
        if root_of(self.forward, prior) != root_of(self.forward, patient):
            if prior in self.forward:
                self._torn.append((prior, self.forward[prior], patient))
                self.remarks.append(Remark(event, "the prior identity was merged elsewhere before"))
            self.forward[prior], self._since[prior] = patient, event.time
        elif self.forward.get(prior) == patient:
            self._since[prior] = event.time
            self.remarks.append(Remark(event, "the merge was made before"))
        else:
            self._repeat(event)

    def _repeat(self, event: Event) -> None:
        """Note a merge of identities that are one already; suspend one that turns another round."""
        path = _path(self.forward, event.patient)
        if event.prior not in path:
            self.remarks.append(Remark(event, "the identities were one patient before"))
            return
        self.remarks.append(Remark(event, "the merge reverses an earlier one and changes nothing"))
        steps = path[: path.index(event.prior)]
        if any(_within_a_day(self._since[each], event.time) for each in steps):
            self._suspend("reversed", event.prior, event.patient)

    def _compare_people(self, ordered: Sequence[Event]) -> None:
        """Watch what is said about each identity: the first word, the last, and what changes."""
        known: dict[Identifier, tuple[_Person, _Person]] = {}
        used: set[Identifier] = set()
        joined: set[tuple[Identifier, Identifier]] = set()
        standing = {id(event) for event in self.standing}
        for event in ordered:
            joins = event.action in _JOINING
            if event.action == UNLINK or (joins and id(event) not in standing):
                continue
            pair = (event.prior, event.patient)
            first_change = event.action == CHANGE and pair not in joined
            if first_change and (event.patient in used or not same_issuer(*pair)):
                self._suspend("id in use", *pair)
            self._update(known, event)
            if joins:
                joined.add(pair)
                self._compare_joined(known, event)
            used.update(pair)

    def _compare_joined(
        self, known: dict[Identifier, tuple[_Person, _Person]], event: Event
    ) -> None:
        if event.prior in known and event.patient in known:
            one, other = known[event.prior][1], known[event.patient][1]
            if one.turned_into(other):
                said = (*one.values, *other.values)
                self._suspend("different people", event.prior, event.patient, said=said)

    def _update(self, known: dict[Identifier, tuple[_Person, _Person]], event: Event) -> None:
        now = _Person(event.name, event.birth_date.strip(), event.sex.strip().upper())
        if event.patient not in known:
            known[event.patient] = (now, now)
        elif event.action == SEEN:
            if event.patient not in self._told and known[event.patient][0].turned_into(now):
                # One of the two names the wrong patient: neither tells who the patient was.
                known[event.patient] = (_NOT_KNOWN, _NOT_KNOWN)
        else:
            first, last = known[event.patient]
            for before in (first, last):
                if before.turned_into(now):
                    said = (*before.values, *now.values)
                    self._suspend("overwritten", event.patient, said=said)
            known[event.patient] = (first.completed(now), now.completed(last))
        if event.action != SEEN:
            self._told.add(event.patient)


@dataclass(frozen=True, slots=True)
class _Person:
    name: str
    birth_date: str
    sex: str

    @property
    def values(self) -> tuple[str, str, str]:
        return self.name, self.birth_date, self.sex

    def turned_into(self, other: _Person) -> bool:
        """Tell whether the birth date differs, and the sex or the name with it."""
        if not _differ(self.birth_date, other.birth_date):
            return False
        return _differ(self.sex, other.sex) or changed(self.name, other.name)

    def completed(self, other: _Person) -> _Person:
        return _Person(
            self.name or other.name, self.birth_date or other.birth_date, self.sex or other.sex
        )


_NOT_KNOWN = _Person("", "", "")


def _differ(one: str, other: str) -> bool:
    return bool(one and other) and one != other


def _refusal(event: Event) -> str:
    if not event.prior.qualified or not event.patient.qualified:
        return "refused: an identity without its issuer cannot be merged"
    if event.prior == event.patient:
        return "refused: an identity cannot be merged with itself"
    return ""


def order(event: Event) -> tuple[object, ...]:
    """Return what events are sorted by: their time, then what they say, never their arrival."""
    return (
        event.time,
        _RANK[event.action],
        event.prior.value,
        event.prior.issuer,
        event.prior.issuer_assumed,
        event.patient.value,
        event.patient.issuer,
        event.patient.issuer_assumed,
        event.name,
        event.birth_date,
        event.sex,
        event.decided_by,
    )


def root_of(forward: dict[Identifier, Identifier], identifier: Identifier) -> Identifier:
    """Follow the merges from an identifier to the one that is left."""
    while (further := forward.get(identifier)) is not None:
        identifier = further
    return identifier


def _path(forward: dict[Identifier, Identifier], identifier: Identifier) -> list[Identifier]:
    path = [identifier]
    while (further := forward.get(path[-1])) is not None:
        path.append(further)
    return path


def _within_a_day(one: str, other: str) -> bool:
    """Tell whether two comparable times are at most a day apart; unknown times are."""
    try:
        first, second = (dt.datetime.strptime(each[:14], "%Y%m%d%H%M%S") for each in (one, other))
    except ValueError:
        return True
    return abs(first - second) <= _REVERSAL
