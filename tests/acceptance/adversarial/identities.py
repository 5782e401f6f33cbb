"""Faults of identities: merges of every kind, un-merges, reversals and overwritten charts."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping

from tests.acceptance.adversarial import wire
from tests.acceptance.adversarial.drafts import Draft, Lost
from tests.acceptance.adversarial.people import Person
from tests.acceptance.adversarial.scene import Scene, pid

_MERGE = "ADT^A40^ADT_A39"
_MERGE_BY_ID = "ADT^A34^ADT_A30"
_CHANGE_OF_ID = "ADT^A47^ADT_A30"


def merge(draft: Draft, scene: Scene) -> None:
    """One person had two or three ids; report and study carry any of them, a merge joins them."""
    if scene.chance.random() < 0.15:
        _change_of_id(draft, scene)
        return
    ids = [draft.person.patient_id]
    ids += [scene.number("patient_id", draft.site) for _ in range(scene.chance.choice((1, 1, 2)))]
    time = draft.exam + scene.hours(-200, 400)
    kind = scene.chance.choice((_MERGE, _MERGE, _MERGE, _MERGE_BY_ID))
    for prior, survivor in itertools.pairwise(ids):
        _merge(draft, scene, kind, survivor, prior, time)
        if scene.chance.random() < 0.2:  # told twice, under another control id
            _merge(draft, scene, kind, survivor, prior, time + dt.timedelta(minutes=5))
        time += scene.hours(1, 72)
    if scene.chance.random() < 0.1:  # nonsense: refused, or without effect
        _merge(draft, scene, _MERGE, ids[0], ids[0], time)
    if scene.chance.random() < 0.1:  # the circle closes days later: one patient already
        _merge(draft, scene, _MERGE, ids[0], ids[-1], time + dt.timedelta(days=3))
    _spread(draft, scene, ids)


def _change_of_id(draft: Draft, scene: Scene) -> None:
    """The id was changed before the examination; the reporting system still sends the old one."""
    old, new = draft.person.patient_id, scene.number("patient_id", draft.site)
    _merge(draft, scene, _CHANGE_OF_ID, new, old, draft.exam - scene.hours(1, 200))
    draft.report_ids = [old]
    for study in draft.studies:
        study.patient_id = new


def unmerge(draft: Draft, scene: Scene) -> None:
    """A merge is taken back: rightly, wrongly, or wrongly and merged again."""
    own, other = draft.person.patient_id, scene.number("patient_id", draft.site)
    merged = draft.exam + scene.hours(-100, 100)
    parted = merged + scene.hours(1, 300)
    pair = (other, own) if scene.chance.random() < 0.5 else (own, other)
    if scene.happens("unmerge_of_strangers"):
        stranger = scene.person(draft.site, other)
        people = {own: draft.person, other: stranger}
        _merge(draft, scene, _MERGE, *pair, merged, people)
        _part(draft, scene, *pair, parted, people)
        # The stranger has an examination of the same day and kind that is nobody's pair.
        draft.strangers.append(scene.study(stranger, draft))
        return
    _merge(draft, scene, _MERGE, *pair, merged)
    _part(draft, scene, *pair, parted)
    draft.report_ids = [own]
    for study in draft.studies:
        study.patient_id = other
    if scene.happens("merged_again"):
        _merge(draft, scene, _MERGE, *pair, parted + scene.hours(1, 50))
    else:
        draft.lost.add(Lost.PATIENT)


def reversed_merge(draft: Draft, scene: Scene) -> None:
    """The same two ids are merged again the other way round: at once, or days later."""
    own, other = draft.person.patient_id, scene.number("patient_id", draft.site)
    time = draft.exam + scene.hours(-100, 100)
    within_a_day = scene.happens("reversed_within_a_day")
    gap = scene.hours(0.1, 23) if within_a_day else scene.hours(30, 400)
    _merge(draft, scene, _MERGE, other, own, time)
    _merge(draft, scene, _MERGE, own, other, time + gap)
    if within_a_day:
        draft.lost.add(Lost.SUSPENDED)
    _spread(draft, scene, [own, other])


def patient_overwritten(draft: Draft, scene: Scene) -> None:
    """An update writes another person over a chart, or only a new name after a marriage."""
    person = draft.person
    time = draft.exam + scene.hours(-500, -24)
    _update(draft, scene, "A04", person.name, person.birth_date, person.sex, time)
    other = scene.person(draft.site)
    later = draft.exam + scene.hours(1, 300)
    if not scene.happens("overwritten"):
        married = f"{other.family}^{person.given}"
        draft.name = married if scene.chance.random() < 0.5 else draft.name
        _update(draft, scene, "A08", married, person.birth_date, person.sex, later)
        return
    if scene.chance.random() < 0.5:
        sex = "M" if person.sex == "F" else "F"
        _update(draft, scene, "A08", person.name, _another(person, other), sex, later)
    else:
        name = f"X{other.family}^X{other.given}"
        _update(draft, scene, "A31", name, _another(person, other), person.sex, later)
    draft.lost.add(Lost.SUSPENDED)


def _another(person: Person, other: Person) -> dt.date:
    same = other.birth_date == person.birth_date
    return other.birth_date.replace(year=1929) if same else other.birth_date


def _spread(draft: Draft, scene: Scene, ids: list[str]) -> None:
    """Let every message and every study carry any of the ids; two of them differ."""
    at_report = scene.chance.choice(ids)
    draft.report_ids = [at_report, scene.chance.choice(ids)]
    others = [each for each in ids if each != at_report]
    for study in draft.studies:
        study.patient_id = scene.chance.choice(others)


def _merge(
    draft: Draft,
    scene: Scene,
    kind: str,
    survivor: str,
    prior: str,
    time: dt.datetime,
    people: Mapping[str, Person] | None = None,
) -> None:
    one, other = _pids(draft, survivor, prior, people)
    envelope = scene.envelope(draft.site, "ADT", kind, time)
    draft.adt.append(wire.patient_merge(envelope, one, other))


def _part(
    draft: Draft,
    scene: Scene,
    survivor: str,
    prior: str,
    time: dt.datetime,
    people: Mapping[str, Person] | None = None,
) -> None:
    one, other = _pids(draft, survivor, prior, people)
    envelope = scene.envelope(draft.site, "ADT", "ADT^A37^ADT_A37", time)
    draft.adt.append(wire.patient_unlink(envelope, one, other))


def _pids(
    draft: Draft, survivor: str, prior: str, people: Mapping[str, Person] | None
) -> tuple[wire.Pid, wire.Pid]:
    who = people or {}
    return (
        pid(who.get(survivor, draft.person), survivor),
        pid(who.get(prior, draft.person), prior),
    )


def _update(
    draft: Draft,
    scene: Scene,
    event: str,
    name: str,
    birth_date: dt.date,
    sex: str,
    time: dt.datetime,
) -> None:
    person = draft.person
    now = wire.Pid(person.patient_id, draft.site.patient_issuer, name, f"{birth_date:%Y%m%d}", sex)
    envelope = scene.envelope(draft.site, "ADT", f"ADT^{event}^ADT_A01", time)
    draft.adt.append(wire.patient_update(envelope, now))
