"""Which fields hold accession number, report number, Study Instance UID and times.

The test of a field is what its values do. A number that names an examination belongs to one
patient; a constant such as "CHEST", a ward or a procedure code comes with many. Where several
fields pass, the standard's order decides and the others are named.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dicom_node.feeds.proposal import Finding
from dicom_node.feeds.sample import Sampled, told

# IHE RAD-4, RAD-28 and RAD-128, then where sites put the number instead.
_ACCESSION_FIELDS = ("IPC-1", "OBR-18", "OBR-3", "ORC-3", "OBR-2", "ORC-2", "OBR-19", "OBR-20")
_STANDARD = ("IPC-1", "OBR-18")  # where the standard puts the number
_REPORT_FIELDS = ("OBR-3", "ORC-3", "OBR-18", "OBR-2")
_STUDY_FIELDS = ("IPC-3", "ZDS-1.1")
_CHANGED_FIELDS = ("OBR-22", "TXA-22", "ORC-9", "OBX-14")
_OBSERVED_FIELDS = ("OBR-7", "OBR-8", "OBX-14")
_NOT_OBSERVED = {"OBR-6": "requested", "OBR-36": "scheduled", "OBR-22": "reported"}

_NUMBER = re.compile(r"(?=.*\d)[A-Za-z0-9][A-Za-z0-9._/\-]{0,31}")
_UID = re.compile(r"(?=.{10,64}\Z)[0-2](\.(0|[1-9]\d*)){2,}")
_MOMENT = re.compile(r"(19|20)\d{6}(\d{2,6}(\.\d+)?)?([+-]\d{4})?")

FEWEST_VALUES = 5
"""Messages with a value below which a field is not judged."""

_SOUND = 0.95  # of the values of a field must be what the field is taken for


@dataclass(frozen=True)
class Field:
    """What stands at one path in the messages of a sample: the first value of each message."""

    path: str
    values: tuple[str, ...]  # one for each message, empty where it has none
    patients: tuple[str, ...]  # the first PID-3 of each message

    @cached_property
    def filled(self) -> tuple[str, ...]:
        """The values that are there."""
        return tuple(each for each in self.values if each)

    @cached_property
    def shared(self) -> int:
        """How many messages hold a value that comes with several patients."""
        owners: dict[str, set[str]] = defaultdict(set)
        for value, patient in zip(self.values, self.patients, strict=True):
            if value and patient:
                owners[value].add(patient)
        return sum(1 for each in self.filled if len(owners[each]) > 1)

    def fits(self, form: re.Pattern[str]) -> bool:
        """Whether enough values, and nearly all of them, have a form and one patient each."""
        if len(self.filled) < FEWEST_VALUES:
            return False
        formed = sum(1 for each in self.filled if form.fullmatch(each))
        needed = _SOUND * len(self.filled)
        return formed >= needed and len(self.filled) - self.shared >= needed

    @property
    def is_number(self) -> bool:
        """Whether it could name an examination: neither a moment nor a UID, one patient each."""
        if self.fits(_MOMENT) or self.fits(_UID):
            return False
        return self.fits(_NUMBER) and len(set(self.patients)) > 1

    @property
    def is_uid(self) -> bool:
        """Whether it could be a Study Instance UID."""
        return self.fits(_UID)

    def telling(self) -> str:
        """Tell fill rate and variety in words."""
        if not self.filled:
            return f"{self.path} is empty"
        variety = len(set(self.filled))
        kinds = "one value" if variety == 1 else f"{variety} values"
        form = _common_form(self.filled)
        return f"{self.path} is filled in {len(self.filled)} of {len(self.values)}, {kinds}{form}"

    def agrees(self, other: Field) -> bool:
        """Whether both hold the same wherever both hold something, often enough to count."""
        both = [
            mine == theirs
            for mine, theirs in zip(self.values, other.values, strict=True)
            if mine and theirs
        ]
        return len(both) >= FEWEST_VALUES and all(both)


def look_at_fields(messages: Sequence[Sampled]) -> Finding:
    """Propose the fields of accession number, report number, Study Instance UID and times."""
    found = Finding()
    results = [each for each in messages if any(name[0] == "OBR" for name in each.segments)]
    if len(results) < FEWEST_VALUES:
        if results:
            found.ask("accession_number_fields", f"only {len(results)} messages have an OBR")
        return found
    read = _Reader(results)
    accession = _look_for_accession(found, read)
    _look_for_report_number(found, read)
    _look_for_study(found, read, accession)
    _look_for_issuers(found, read, accession)
    _look_for_moments(found, read)
    return found


class _Reader:
    """Fields of a sample, each read once."""

    def __init__(self, messages: Sequence[Sampled]) -> None:
        self.messages = messages
        self.patients = tuple(each.first("PID-3") or each.first("PID-2") for each in messages)
        self._fields: dict[str, Field] = {}

    def field(self, path: str) -> Field:
        if path not in self._fields:
            values = tuple(each.first(path) for each in self.messages)
            self._fields[path] = Field(path, values, self.patients)
        return self._fields[path]

    def private(self) -> list[str]:
        """The field paths of private segments (Z..), most often filled first."""
        seen: Counter[str] = Counter()
        for message in self.messages:
            for segment in message.segments:
                if segment[0].startswith("Z"):
                    seen.update(f"{segment[0]}-{n}.1" for n in range(1, len(segment)) if segment[n])
        return [path for path, _ in seen.most_common(64)]

    def in_text(self, field: Field) -> int:
        """In how many messages the value stands in the report text as well."""
        return sum(
            1
            for message, value in zip(self.messages, field.values, strict=True)
            if len(value) > 4 and any(value in text for text in message.fields("OBX-5"))
        )


def _look_for_accession(found: Finding, read: _Reader) -> Field | None:
    key = "accession_number_fields"
    candidates = [*map(read.field, _ACCESSION_FIELDS), *map(read.field, read.private())]
    sound = [each for each in candidates if each.is_number]
    for each in candidates[: len(_STANDARD)]:
        if each.filled and each not in sound:
            found.because(key, f"not {each.path}: {_why_not(each)}")
    if not sound:
        found.propose(
            key, _STANDARD[:1], "no field holds a number that belongs to one patient each"
        )
        found.ask(key, "which field holds the accession number?")
        return None
    chosen = _best_number(found, key, read, sound)
    # What the standard puts first and this sample never fills may come with other messages.
    first = [path for path in _STANDARD if path != chosen.path and not read.field(path).filled]
    gaps = [each.path for each in sound if each is not chosen and _fills_gaps(chosen, each)]
    paths = tuple(dict.fromkeys([*first, chosen.path, *gaps]))
    found.propose(key, paths, f"{chosen.telling()}, each of one patient")
    if in_text := read.in_text(chosen):
        found.because(key, f"{chosen.path} stands in the report text of {in_text} messages as well")
    if missing := len(chosen.values) - len(chosen.filled):
        found.ask(key, f"{missing} messages have none in {chosen.path}")
    return chosen


def _best_number(found: Finding, key: str, read: _Reader, sound: list[Field]) -> Field:
    """The first in the standard's order, unless report texts name another one far more often."""
    chosen = sound[0]
    texts = {each.path: read.in_text(each) for each in sound}
    spoken = max(sound, key=lambda each: texts[each.path])
    enough = max(FEWEST_VALUES, len(read.messages) // 5)
    if texts[spoken.path] >= enough and texts[spoken.path] > 4 * texts[chosen.path]:
        found.because(
            key,
            f"not {chosen.path}: report texts name {spoken.path} in {texts[spoken.path]} messages "
            f"and {chosen.path} in {texts[chosen.path]}",
        )
        chosen = spoken
    others = [each for each in sound if each is not chosen and not chosen.agrees(each)]
    if others:
        names = ", ".join(each.path for each in others)
        found.ask(key, f"could be the number too: {names}; compare with the images")
    return chosen


def _fills_gaps(chosen: Field, other: Field) -> bool:
    gaps = any(
        theirs and not mine for mine, theirs in zip(chosen.values, other.values, strict=True)
    )
    return gaps and chosen.agrees(other)


def _why_not(field: Field) -> str:
    if len(field.filled) < FEWEST_VALUES:
        return f"filled in {len(field.filled)} messages only"
    values = told(Counter(field.filled), most=4)
    if len(field.filled) - field.shared < _SOUND * len(field.filled):
        return f"its values come with several patients each ({values})"
    return "its values do not have the form of a number"


def _look_for_report_number(found: Finding, read: _Reader) -> None:
    """What chains the versions of a report must never hold a value that patients share."""
    key = "report_number_fields"
    fields = [read.field(path) for path in _REPORT_FIELDS]
    wrong = [each for each in fields if each.filled and not each.is_number and each.shared]
    usable = [each for each in fields if each not in wrong]
    for each in wrong:
        found.because(key, f"not {each.path}: {_why_not(each)}")
    if not any(each.filled for each in usable):
        found.ask(key, "no field names each report: corrections will not find what they correct")
        return
    found.propose(
        key,
        tuple(each.path for each in usable),
        next(each.telling() for each in usable if each.filled) + ", each of one patient",
    )


def _look_for_study(found: Finding, read: _Reader, accession: Field | None) -> None:
    key = "study_uid_fields"
    paths = [*_STUDY_FIELDS, *(path for path in read.private() if path not in _STUDY_FIELDS)]
    sound = [field for path in paths if (field := read.field(path)).is_uid]
    if not sound:
        found.because(key, "no field of an order holds a UID (OBX lines are read in any case)")
        return
    standard = [each for each in sound if each.path in _STUDY_FIELDS]
    chosen = standard or sound[:1]
    reason = "; ".join(each.telling() for each in chosen)
    added = () if standard else (chosen[0].path,)
    found.propose(key, (*_STUDY_FIELDS, *added), f"{reason}, each of one patient")
    if not standard:
        found.ask(key, f"is the UID in {chosen[0].path} that of the study, or of an object in it?")
    if accession is not None and not _one_to_one(chosen[0], accession):
        found.ask(key, f"some accession numbers come with several UIDs in {chosen[0].path}")


def _one_to_one(first: Field, second: Field) -> bool:
    partners: dict[str, set[str]] = defaultdict(set)
    for mine, theirs in zip(first.values, second.values, strict=True):
        if mine and theirs:
            partners[theirs].add(mine)
    return all(len(each) == 1 for each in partners.values())


def _look_for_issuers(found: Finding, read: _Reader, accession: Field | None) -> None:
    if accession is not None:
        key = "issuer_of_accession_number"
        stated = read.field(f"{accession.path.partition('.')[0]}.2")
        if "." not in accession.path and stated.filled:
            issuers = told(Counter(stated.filled))
            found.because(key, f"{accession.path}.2 names the issuer: {issuers}")
        if "." in accession.path or len(stated.filled) < len(accession.filled):
            silent = len(accession.filled) - len(stated.filled) * ("." not in accession.path)
            found.ask(
                key,
                f"{silent} of {len(accession.filled)} accession numbers name no issuer: who gives "
                "them out? without one, only the Study Instance UID can link",
            )
    orders = read.field("OBR-2.2")
    if orders.filled:
        found.because("issuer_of_order_numbers", f"OBR-2.2: {told(Counter(orders.filled))}")


def _look_for_moments(found: Finding, read: _Reader) -> None:
    changed = [f for path in _CHANGED_FIELDS if (f := read.field(path)).fits(_MOMENT)]
    key = "status_changed_fields"
    if changed:
        gaps = len(changed[0].filled) < len(changed[0].values)
        used = changed if gaps else changed[:1]
        found.propose(key, tuple(each.path for each in used), changed[0].telling())
    else:
        found.ask(key, "no field tells when a report changed; the time of its message counts")
    observed = [f for path in _OBSERVED_FIELDS if _tells_moments(f := read.field(path))]
    key = "observation_date_fields"
    if observed:
        found.propose(key, tuple(each.path for each in observed), observed[0].telling())
    missing = len(read.messages) - len(observed[0].filled) if observed else len(read.messages)
    if missing:
        others = [
            f"{path} ({meaning})"
            for path, meaning in _NOT_OBSERVED.items()
            if _tells_moments(read.field(path))
        ]
        hint = f"; not taken for it: {', '.join(others)}" if others else ""
        found.ask(key, f"{missing} of {len(read.messages)} messages name no date of imaging{hint}")


def _tells_moments(field: Field) -> bool:
    """Several studies may share a moment, so nothing is said about patients."""
    formed = sum(1 for each in field.filled if _MOMENT.fullmatch(each))
    return len(field.filled) >= FEWEST_VALUES and formed >= _SOUND * len(field.filled)


def _common_form(values: Sequence[str]) -> str:
    lengths = {len(each) for each in values}
    if len(lengths) == 1 and all(each.isdigit() for each in values):
        return f" of {lengths.pop()} digits"
    return ""
