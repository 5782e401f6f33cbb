"""What can go wrong with a pair, one function for each fault of ``rates.toml``.

Each changes the draft and says what the change took from the data (``Draft.lost``). Two faults meet
in one pair only where they change different things, so that what is left can still be told.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.acceptance.adversarial.drafts import Draft, Lost, Version
from tests.acceptance.adversarial.identities import (
    merge,
    patient_overwritten,
    reversed_merge,
    unmerge,
)
from tests.acceptance.adversarial.people import mistype, swapped
from tests.acceptance.adversarial.scene import Scene


def retyped_patient_id(draft: Draft, scene: Scene) -> None:
    """Somebody typed the patient id wrong, in the report or at the modality."""
    wrong = mistype(draft.person.patient_id, scene.chance)
    other = scene.somebody_else(draft)
    if other is not None and scene.happens("retyped_to_another_patient"):
        wrong = other.patient_id
    if scene.happens("retyped_in_study"):
        for study in draft.studies:
            study.patient_id = wrong
    else:
        draft.report_ids = [wrong]
    draft.lost.add(Lost.PATIENT)


def retyped_accession_number(draft: Draft, scene: Scene) -> None:
    """The report's accession number is wrong and no Study Instance UID helps."""
    wrong = mistype(draft.accession, scene.chance)
    victim = scene.other_pair(draft)
    if victim is not None and scene.happens("retyped_to_another_accession"):
        wrong = victim.accession
        victim.contested = True
    draft.accessions, draft.uids = [wrong], []
    draft.lost.add(Lost.CONTRADICTION if draft.orders else Lost.KEY)


def swapped_birth_date(draft: Draft, scene: Scene) -> None:
    """Day and month of the birth date changed places on one side."""
    wrong = swapped(draft.person.birth_date)
    if scene.happens("swapped_in_study"):
        for study in draft.studies:
            study.birth_date = f"{wrong:%Y%m%d}"
    else:
        draft.birth_date = wrong
        for study in draft.studies:
            study.birth_date = f"{draft.person.birth_date:%Y%m%d}"
    draft.lost.add(Lost.CONTRADICTION)


def swapped_exam_date(draft: Draft, scene: Scene) -> None:
    """Day and month of the examination changed places in the report."""
    draft.observed = draft.observed.replace(month=draft.exam.day, day=draft.exam.month)
    for study in draft.studies:
        study.date = draft.exam.date()
    draft.lost.add(Lost.CONTRADICTION)


def wrong_study_uid(draft: Draft, scene: Scene) -> None:
    """The accession number is right, the Study Instance UID is of another study, or of none."""
    share = scene.chance.random()
    rates = scene.rates.variants
    wrong = scene.uid()
    if share < rates["uid_of_stranger"]:
        stranger = scene.study(scene.person(draft.site), draft)
        draft.strangers.append(stranger)
        wrong = stranger.uid
    elif share < rates["uid_of_stranger"] + rates["uid_of_same_patient"]:
        another = scene.study(draft.person, draft)
        draft.strangers.append(another)
        wrong = another.uid
    elif (
        share < rates["uid_of_stranger"] + rates["uid_of_same_patient"] + rates["uid_of_other_pair"]
    ):
        victim = scene.other_pair(draft)
        if victim is not None:
            wrong = victim.studies[0].uid
            victim.contested = True
    draft.uids = [wrong]
    draft.accessions = [draft.accession]
    draft.lost.add(Lost.CONTRADICTION)


def late_correction(draft: Draft, scene: Scene) -> None:
    """The report changes after it was final, and messages of older versions come late."""
    way = scene.chance.choice(("C", "restated", "U", "addendum", "older sent last"))
    last = draft.versions[-1]
    changed = last.changed + scene.hours(1, 200)
    if way == "U":
        last.status = last.line_status = "P"
        draft.versions.append(Version("F", ("",), changed, changed, "U"))
        return
    if way == "addendum":
        added = (f"ADDENDUM: {scene.finding(draft.modality)}",)
        draft.versions.append(Version("C", last.lines, changed, changed, "C", addendum=added))
        draft.appended = added
        return
    lines = scene.report(draft.modality)
    status = "F" if way == "restated" else "C"
    draft.versions.append(Version(status, lines, changed, changed, status))
    draft.text = lines
    if way == "older sent last":
        draft.versions.append(
            Version("F", last.lines, last.changed, changed + scene.hours(1, 50), "F")
        )


def wrong_patient(draft: Draft, scene: Scene) -> None:
    """W: the original was sent for the wrong patient; sometimes the right text follows."""
    last = draft.versions[-1]
    changed = last.changed + scene.hours(1, 100)
    draft.versions.append(Version("C", last.lines, changed, changed, "W"))
    if scene.happens("withdrawn_and_sent_anew"):
        changed += scene.hours(1, 20)
        lines = scene.report(draft.modality)
        draft.versions.append(Version("F", lines, changed, changed, "F"))
        draft.text = lines
        return
    draft.text = None
    draft.lost.add(Lost.WITHDRAWN)


def cancelled(draft: Draft, scene: Scene) -> None:
    """X: the result will not come, or is taken back."""
    changed = draft.versions[-1].changed + scene.hours(1, 100)
    lines = ("examination cancelled",)
    draft.versions.append(Version("X", lines, changed, changed, "X"))
    draft.text = None
    draft.lost.add(Lost.WITHDRAWN)


def replay(draft: Draft, scene: Scene) -> None:
    """Messages come again, byte for byte."""
    draft.replays = scene.chance.randint(1, 3)


def charset(draft: Draft, scene: Scene) -> None:
    """The bytes do not belong to the character set that MSH-18 names."""
    last = draft.versions[-1]
    last.lines = (*last.lines, "Größe unverändert")
    draft.text = last.lines
    if not scene.happens("sent_again_readably"):
        for version in draft.versions:
            version.unreadable = True
            version.lines = (*version.lines, "Größe unverändert")
        draft.text = None
        draft.lost.add(Lost.UNREADABLE)
        return
    last.unreadable = True
    again = Version(
        last.status, last.lines, last.changed, last.sent + scene.hours(1, 30), last.line_status
    )
    draft.versions.append(again)


def reused_control_id(draft: Draft, scene: Scene) -> None:
    """The sender uses the control id of an earlier message for another one."""
    draft.reuse_control_id = True


def missing_issuer(draft: Draft, scene: Scene) -> None:
    """One side does not say who issued a number; only the second site declared what it means.

    Where the pair's order came too, it still names the study and a number with its issuer.
    """
    site = draft.site
    trusted = site.trusts_assumed_issuers
    way = scene.chance.choice(("report patient", "study patient", "report number", "study number"))
    if way == "report patient":
        draft.patient_issuer_sent = False
        draft.national_id = ""
    elif way == "study patient":
        for study in draft.studies:
            study.patient_issuer = site.patient_issuer if trusted else ""
            study.patient_issuer_assumed = trusted
    else:
        draft.uids, draft.accessions = [], [draft.accession]
        if way == "report number":
            draft.accession_issuer_sent = False
        for study in draft.studies:
            if way == "study number":
                study.accession_issuer = site.accession_issuer if trusted else ""
                study.accession_issuer_assumed = trusted
    if trusted or ("number" in way and draft.orders):
        return
    draft.lost.add(Lost.PATIENT if "patient" in way else Lost.KEY)


def order_only(draft: Draft, scene: Scene) -> None:
    """The report names neither accession number nor study; the order that it names does."""
    draft.accessions, draft.uids = [], []
    if scene.happens("order_never_came"):
        draft.orders = []
        draft.lost.add(Lost.KEY)
    else:
        draft.orders = [scene.order(draft)]


def several_studies_one_accession(draft: Draft, scene: Scene) -> None:
    """One accession number, two or three studies; the report is about all of them."""
    draft.accessions, draft.uids = [draft.accession], []
    for _ in range(scene.chance.randint(1, 2)):
        more = scene.study(draft.person, draft)
        more.accession = draft.accession
        draft.studies.append(more)


def one_report_several_studies(draft: Draft, scene: Scene) -> None:
    """One report with two or three order groups, each with its own accession number."""
    named = scene.chance.random() < 0.5
    for _ in range(scene.chance.randint(1, 2)):
        draft.studies.append(scene.study(draft.person, draft))
    draft.accessions = [study.accession for study in draft.studies]
    draft.uids = [study.uid for study in draft.studies] if named else []


def _people(draft: Draft, scene: Scene) -> None:
    """Twins and namesakes are made with the scene: nothing is wrong with their data."""


Fault = Callable[[Draft, Scene], None]

FAULTS: dict[str, tuple[Fault, frozenset[str]]] = {
    "twins": (_people, frozenset({"people"})),
    "same_name_and_birth_date": (_people, frozenset({"people"})),
    "retyped_patient_id": (retyped_patient_id, frozenset({"identity"})),
    "retyped_accession_number": (retyped_accession_number, frozenset({"key"})),
    "swapped_birth_date": (swapped_birth_date, frozenset({"birth date"})),
    "swapped_exam_date": (swapped_exam_date, frozenset({"date"})),
    "wrong_study_uid": (wrong_study_uid, frozenset({"key"})),
    "merge": (merge, frozenset({"identity"})),
    "unmerge": (unmerge, frozenset({"identity"})),
    "reversed_merge": (reversed_merge, frozenset({"identity"})),
    "patient_overwritten": (patient_overwritten, frozenset({"identity", "birth date"})),
    "late_correction": (late_correction, frozenset({"text"})),
    "wrong_patient": (wrong_patient, frozenset({"text"})),
    "cancelled": (cancelled, frozenset({"text"})),
    "replay": (replay, frozenset({"replay"})),
    "charset": (charset, frozenset({"text", "control id"})),
    "reused_control_id": (reused_control_id, frozenset({"control id"})),
    "missing_issuer": (missing_issuer, frozenset({"identity", "key"})),
    "order_only": (order_only, frozenset({"key"})),
    "several_studies_one_accession": (several_studies_one_accession, frozenset({"key"})),
    "one_report_several_studies": (one_report_several_studies, frozenset({"key"})),
}
"""Every fault with what it changes."""

OF_PERSON = frozenset({"merge", "unmerge", "reversed_merge", "patient_overwritten"})
"""Faults of a patient, not of one report: such a patient has no other pair."""


def second_fault(first: str, chance: random.Random) -> str:
    """Return another fault that can be told apart from the first in the data, or none."""
    touched = FAULTS[first][1]
    fitting = [
        name
        for name, (apply, changes) in FAULTS.items()
        if apply is not _people and not changes & touched
    ]
    return chance.choice(fitting) if fitting else ""


def apply_faults(draft: Draft, scene: Scene) -> None:
    """Apply the faults of a draft; those that add studies first, so that others reach them."""
    first = ("several_studies_one_accession", "one_report_several_studies")
    for name in sorted(draft.faults, key=lambda each: each not in first):
        FAULTS[name][0](draft, scene)
