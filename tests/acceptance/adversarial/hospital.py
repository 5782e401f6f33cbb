"""The stream of two hospitals: pairs dealt from decks of faults, in an order without mercy."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.acceptance.adversarial import wire
from tests.acceptance.adversarial.drafts import Draft, DraftStudy, Pair, Version
from tests.acceptance.adversarial.faults import OF_PERSON, apply_faults, second_fault
from tests.acceptance.adversarial.people import Person
from tests.acceptance.adversarial.rates import DECK, Rates, load_rates
from tests.acceptance.adversarial.scene import MODALITIES, Scene, accession_sent
from tests.acceptance.adversarial.sites import NORTH, SITES, SOUTH, Site

_LATE_SHARE = 0.15
_LATEST_WINDOW = 4
_REUSED_CONTROL_IDS = 50


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something that reaches the node: a message, or a study with its series."""

    message: bytes = b""
    study: dict[str, Any] | None = None
    series: dict[str, Any] | None = None


class Hospital:
    """Two sites, seeded.

    Args:
        pairs: how many; rounded up to whole decks of ``rates.DECK``.
        seed: the same seed gives the same hospital.
        window: pairs whose arrivals are shuffled together; some arrive up to four windows late.
    """

    def __init__(self, pairs: int, seed: int, window: int = 10 * DECK) -> None:
        self._chance = random.Random(f"hospital {seed}")
        self._rates: Rates = load_rates()
        self._scene = Scene(self._chance, self._rates, seed)
        self._wanted = -(-pairs // DECK) * DECK
        self._window = window
        self._control_ids: dict[Site, list[str]] = {site: [] for site in SITES}
        self._known: dict[Site, list[Person]] = {site: [] for site in SITES}
        self._drafts: list[Draft] = []
        self._key = 0
        self.pairs: list[Pair] = []
        self.people: dict[str, int] = {}
        """The person (``Person.key``) of every study, by Study Instance UID."""
        self.bare: dict[str, tuple[str, str]] = {}
        """Accession number and patient id of every study, bare, by Study Instance UID."""
        self.messages = 0
        self.faults: Counter[str] = Counter()

    def arrivals(self, size: int = 1000) -> Iterator[list[Arrival]]:
        """Yield everything that arrives, in lists of at most ``size``; once.

        The truth of a pair (``pairs``) is complete when the stream has ended.
        """
        late: list[list[Arrival]] = [[] for _ in range(_LATEST_WINDOW + 1)]
        while self._key < self._wanted or any(late):
            if self._key < self._wanted:
                self._fill(late)
            arrived, late = late[0], [*late[1:], []]
            self._chance.shuffle(arrived)
            self.messages += sum(bool(each.message) for each in arrived)
            for start in range(0, len(arrived), size):
                yield arrived[start : start + size]
        self._settle()

    def shared(self) -> dict[str, float]:
        """Return the share of the second site's numbers, by kind, that the first has too."""
        numbers = self._scene.numbers
        return {
            kind: numbers.shared[kind] / max(1, total)
            for kind, total in numbers.second_site.items()
        }

    def _fill(self, late: list[list[Arrival]]) -> None:
        end = min(self._key + self._window, self._wanted)
        while self._key < end:
            deck = self._rates.deck()
            self._chance.shuffle(deck)
            for fault in deck:
                for draft in self._scenes(fault):
                    for arrival in self._emit(draft):
                        is_late = self._chance.random() < _LATE_SHARE
                        slot = self._chance.randint(1, _LATEST_WINDOW) if is_late else 0
                        late[slot].append(arrival)

    def _scenes(self, fault: str) -> list[Draft]:
        """Make the pair, or the two pairs, of a scene."""
        scene, chance = self._scene, self._chance
        faults = [fault] if fault else []
        if fault and chance.random() < self._rates.pairs["second_fault"]:
            faults.append(second_fault(fault, chance))
        site = chance.choice(SITES)
        if fault == "twins":
            one = self._draft(scene.person(site), faults)
            other = self._draft(scene.twin(one.person), [fault], like=one)
            found = [one, other]
        elif fault == "same_name_and_birth_date":
            found = self._namesakes(faults)
        else:
            person = self._person(site, bool(OF_PERSON & set(faults)))
            found = [self._draft(person, faults)]
        for draft in found:
            apply_faults(draft, scene)
            scene.remember(draft)
            self.faults.update(set(draft.faults))
        return found

    def _namesakes(self, faults: list[str]) -> list[Draft]:
        """Two people of one name at both sites, whose bare numbers are all the same."""
        scene, fault = self._scene, faults[:1]
        one = self._draft(scene.person(NORTH, scene.numbers.same_at_both("patient_id")), faults)
        numbers = {
            kind: scene.numbers.same_at_both(kind) for kind in ("accession", "placer", "filler")
        }
        self._renumber(one, numbers)
        if self._chance.random() < 0.5:
            one.faults, fault = fault, faults
        other = self._draft(scene.namesake(one.person, SOUTH), list(fault), like=one)
        self._renumber(other, numbers)
        return [one, other]

    def _renumber(self, draft: Draft, numbers: dict[str, str]) -> None:
        draft.accession, draft.placer, draft.filler = numbers.values()
        draft.studies[0].accession = draft.accession
        if draft.accessions:
            draft.accessions = [draft.accession]
        if draft.orders:
            draft.orders = [self._scene.order(draft)]

    def _person(self, site: Site, of_its_own: bool) -> Person:
        known = self._known[site]
        if of_its_own:
            return self._scene.person(site)
        if known and self._chance.random() < self._rates.pairs["patient_seen_before"]:
            return self._chance.choice(known)
        person = self._scene.person(site)
        known.append(person)
        if len(known) > 500:
            del known[:250]
        return person

    def _draft(self, person: Person, faults: list[str], like: Draft | None = None) -> Draft:
        scene, chance, site = self._scene, self._chance, person.site
        self._key += 1
        exam = like.exam if like else _examined(chance)
        draft = Draft(
            key=self._key,
            site=site,
            person=person,
            exam=exam,
            modality=like.modality if like else chance.choice(MODALITIES),
            accession=scene.number("accession", site),
            placer=scene.number("placer", site),
            filler=scene.number("filler", site),
            studies=[],
            faults=faults,
            report_ids=[person.patient_id],
            name=_spelled(person, chance),
            birth_date=person.birth_date,
            observed=exam,
            national_id=f"N{scene.unique()}" if chance.random() < 0.2 else "",
        )
        study = scene.study(person, draft)
        study.accession = draft.accession
        if chance.random() < 0.03:
            study.date += dt.timedelta(days=1)
        if chance.random() < 0.03:
            study.birth_date = ""
        study.name = _spelled(person, chance)
        draft.studies.append(study)
        way = chance.random()
        draft.accessions = [draft.accession] if way < 0.85 else []
        draft.uids = [study.uid] if way < 0.5 or way >= 0.85 else []
        draft.versions = _first_versions(draft, scene)
        draft.text = draft.versions[-1].lines
        if chance.random() < 0.3:
            draft.orders.append(scene.order(draft))
        return draft

    def _emit(self, draft: Draft) -> Iterator[Arrival]:
        for version in draft.versions:
            message = self._message(draft, version)
            for _ in range(1 + draft.replays):
                yield Arrival(message=message)
        for message in draft.orders + draft.adt:
            yield Arrival(message=message)
        for study in draft.studies + draft.strangers:
            self.people[study.uid] = study.person.key
            self.bare[study.uid] = (study.accession, study.patient_id)
            yield Arrival(study=_study_row(study), series=_series_row(study))
        self._drafts.append(draft)
        if len(self._drafts) > 4 * self._window:
            self._settle(self._window)

    def _settle(self, keep: int = 0) -> None:
        """Turn drafts that no later fault can reach into the truth about their pairs."""
        done = self._drafts[: len(self._drafts) - keep]
        self.pairs += [_pair(draft) for draft in done]
        del self._drafts[: len(done)]

    def _message(self, draft: Draft, version: Version) -> bytes:
        site = draft.site
        envelope = self._scene.envelope(site, "RIS", "ORU^R01^ORU_R01", version.sent)
        earlier = self._control_ids[site]
        if draft.reuse_control_id and earlier:
            used = self._chance.choice(earlier)
            envelope = wire.Envelope(
                site, "RIS", envelope.message_type, used, version.sent, envelope.version
            )
        earlier.append(envelope.control_id)
        del earlier[:-_REUSED_CONTROL_IDS]
        patient_id = self._chance.choice(draft.report_ids)
        pid = wire.Pid(
            patient_id,
            site.patient_issuer if draft.patient_issuer_sent else "",
            draft.name,
            f"{draft.birth_date:%Y%m%d}",
            draft.person.sex,
            draft.national_id,
        )
        codec = ""
        if version.unreadable:
            codec = "iso8859_1"
            envelope = wire.Envelope(
                site, "RIS", envelope.message_type, envelope.control_id, version.sent,
                envelope.version, "UNICODE UTF-8",
            )  # fmt: skip
        return wire.oru(envelope, pid, _result(draft, version), codec)


def _examined(chance: random.Random) -> dt.datetime:
    """Return a time by day whose day and month can be mistaken for each other."""
    month = chance.randint(1, 6)
    day = chance.choice([each for each in range(1, 13) if each != month])
    return dt.datetime(2026, month, day, chance.randint(7, 20), chance.randint(0, 59))


def _spelled(person: Person, chance: random.Random) -> str:
    """Return a name as one of many systems spells it."""
    family, given = person.family, person.given
    way = chance.random()
    if way < 0.15:
        return f"{family}^{given}".upper().replace("ẞ", "SS")
    if way < 0.2:
        return f"{family}^{given}^J."
    if way < 0.23:
        return f"{family}^{given}^^Dr."
    return f"{family}^{given}"


def _first_versions(draft: Draft, scene: Scene) -> list[Version]:
    changed = draft.exam + scene.hours(1, 30)
    final = Version("F", scene.report(draft.modality), changed, changed, "F")
    if scene.chance.random() >= 0.2:
        return [final]
    early = draft.exam + scene.hours(0.2, 0.9)
    return [Version("P", scene.report(draft.modality), early, early, "P"), final]


def _result(draft: Draft, version: Version) -> wire.Result:
    site = draft.site
    sent = [
        accession_sent(site, each, draft.accession_issuer_sent) for each in draft.accessions
    ] or [""]
    uids = draft.uids
    if len(sent) > 1 and len(sent) == len(uids):
        groups = [wire.Group(each, (uid,)) for each, uid in zip(sent, uids, strict=True)]
    else:
        groups = [wire.Group(each, tuple(uids)) for each in sent]
    return wire.Result(
        placer=draft.placer,
        filler=draft.filler,
        groups=groups,
        observed=draft.observed,
        changed=version.changed,
        modality=draft.modality,
        status=site.words.get(version.status, version.status),
        line_status=version.line_status,
        lines=version.lines,
        addendum=version.addendum,
    )


def _study_row(study: DraftStudy) -> dict[str, Any]:
    return {
        "study_instance_uid": study.uid,
        "patient_id": study.patient_id,
        "issuer_of_patient_id": study.patient_issuer,
        "issuer_assumed": study.patient_issuer_assumed,
        "patient_name": study.name,
        "patient_birth_date": study.birth_date,
        "patient_sex": study.person.sex,
        "accession_number": study.accession,
        "issuer_of_accession_number": study.accession_issuer,
        "accession_issuer_assumed": study.accession_issuer_assumed,
        "study_date": f"{study.date:%Y%m%d}",
        "study_time": "120000",
        "study_description": f"{study.modality} lumbar spine",
        "calling_ae_title": study.person.site.name,
    }


def _series_row(study: DraftStudy) -> dict[str, Any]:
    return {
        "series_instance_uid": f"{study.uid}.1",
        "study_instance_uid": study.uid,
        "modality": study.modality,
        "body_part_examined": "LSPINE",
    }


def _pair(draft: Draft) -> Pair:
    holding = frozenset(draft.text or ()) | frozenset(draft.appended)
    shown = {line for version in draft.versions for line in version.lines if line}
    return Pair(
        key=draft.key,
        sender=draft.site.sender("RIS"),
        filler=draft.filler,
        studies=tuple(study.uid for study in draft.studies),
        faults=tuple(draft.faults),
        lost=frozenset(draft.lost),
        contested=draft.contested,
        text=draft.text,
        appended=draft.appended,
        superseded=tuple(sorted(shown - holding)),
        said=(tuple(draft.accessions), draft.report_ids[0]),
    )
