"""Rejection notes: honoured as far as they reach, whatever comes first, until a person decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlmodel import select

from dicom_node.documents.models import DicomDocument, RejectedInstance
from dicom_node.models import Link, Study
from dicom_node.studies import decisions_on, frozen_studies, is_frozen, studies_with_images
from plugin.context import Context
from plugin.errors import Permanent
from plugin.linking import study_linker
from plugin.stages import documents
from plugin.stages.document_decisions import decide_document
from plugin.stages.documents import read_documents
from tests import document_builders as build
from tests.builders import mr_image, uid
from tests.document_room import S1, Store, document_room, image, rows

S2 = uid("study", "S2")


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with document_room(tmp_path) as context:
        yield context


@pytest.fixture
def store(context: Context) -> Store:
    return Store(context)


def strangers() -> Dataset:
    """Return an image of another patient in study S2."""
    return mr_image("P2", "S2", 1, IssuerOfPatientID="HOSP")


def frozen(context: Context) -> set[str]:
    with context.database.read() as session:
        found = set(frozen_studies(session))
        assert found == {uid for uid in (S1, S2) if is_frozen(session, uid)}
    return found


def in_use(context: Context) -> set[str]:
    with context.database.read() as session:
        return set(studies_with_images(session))


def note_of(context: Context) -> DicomDocument:
    (found,) = [each for each in rows(context, DicomDocument) if each.kind == "rejection"]
    assert isinstance(found, DicomDocument)
    return found


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_a_note_is_honoured_in_its_own_study_whatever_came_first(
    context: Context, store: Store, order: tuple[int, ...]
) -> None:
    """It also names another patient's image, once as of its own study and once as of the other."""
    note = build.rejection_note([image(1), strangers()], "113037")
    lie = build.references([(S1, "1.2.3", str(strangers().SOPInstanceUID))])
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0]
    evidence.ReferencedSeriesSequence.append(lie[0].ReferencedSeriesSequence[0])
    arriving = [image(1), strangers(), note]
    for each in order:
        store(arriving[each])
    assert note_of(context).state == "honoured"
    assert "1 other studies" in note_of(context).why
    assert frozen(context) == {S1}
    assert in_use(context) == {S2}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_note_over_studies_of_one_patient_is_honoured_in_each(
    context: Context, store: Store, order: tuple[int, ...]
) -> None:
    other = image(1, study="S2")
    report = build.text_report("Other.", study="S2")
    arriving = [image(1), other, build.rejection_note([image(1), other], "113037")]
    store(report)
    for each in order:
        store(arriving[each])
    assert frozen(context) == {S1, S2}
    assert in_use(context) == set()
    assert [each.state for each in rows(context, Link)] == ["suspended"]
    with context.database.read() as session:
        assert decisions_on(session, S2) == 0
    decide_document(context, note_of(context).digest, "release", by="anna", reason="fine")
    assert frozen(context) == set()
    assert in_use(context) == {S1, S2}
    assert [each.state for each in rows(context, Link)] == ["confirmed"]
    with context.database.read() as session:
        assert decisions_on(session, S1) == decisions_on(session, S2) == 1


def abroad(title: str) -> Dataset:
    """Return a note in study S1 that names images of S2 alone."""
    note = build.rejection_note([image(1, study="S2")], title)
    note.StudyInstanceUID = S1
    return note


@pytest.mark.parametrize(("title", "held"), [("113001", set()), ("113037", {S1}), ("113038", {S1})])
def test_a_note_in_doubt_holds_its_own_study_until_a_person_decides(
    context: Context, store: Store, title: str, held: set[str]
) -> None:
    store(image(1), image(1, study="S2"), abroad(title), build.text_report())
    assert note_of(context).state == "doubtful"
    assert frozen(context) == held
    assert in_use(context) == {S1, S2}
    states = [each.state for each in rows(context, Link)]
    assert states == (["suspended"] if held else ["confirmed"])
    decide_document(context, note_of(context).digest, "confirm", by="anna", reason="they are bad")
    assert frozen(context) == set()
    assert in_use(context) == {S1}
    assert [each.state for each in rows(context, Link)] == ["confirmed"]
    decide_document(context, note_of(context).digest, "release", by="anna", reason="they are not")
    assert in_use(context) == {S1, S2}


def test_a_note_that_names_nothing_can_be_released_and_not_confirmed(
    context: Context, store: Store
) -> None:
    empty = build.rejection_note([], "113037")
    store(image(1), empty)
    assert frozen(context) == {S1}
    with pytest.raises(Permanent, match="no instance is known"):
        decide_document(context, note_of(context).digest, "confirm", by="anna", reason="why")
    decide_document(
        context, note_of(context).digest, "release", by="anna", reason="it says nothing"
    )
    assert frozen(context) == set()


@pytest.mark.parametrize("loss", ["doubt", "unreadable"])
def test_a_note_that_was_honoured_stays_so_under_other_rules(
    context: Context, store: Store, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    store(image(1), build.rejection_note([image(1)], "113037"), build.text_report())
    monkeypatch.setattr(documents, "RULE_VERSION", documents.RULE_VERSION + 1)
    if loss == "doubt":
        monkeypatch.setattr("plugin.stages.document_notes.doubt", lambda *_: "a new doubt")
    else:
        monkeypatch.setattr(documents, "classify", _refuse)
    read_documents(context)
    assert note_of(context).state == "honoured"
    assert frozen(context) == {S1}
    assert in_use(context) == set()
    assert len(rows(context, RejectedInstance)) == 1
    assert read_documents(context).kinds == {}


def _refuse(*_: object) -> documents.Verdict:
    return documents.Verdict(documents.Kind.UNREADABLE, "the parser ended")


def test_links_follow_when_new_rules_honour_a_note(
    context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("plugin.stages.document_notes.doubt", lambda *_: "a doubt")
        store(image(1), build.text_report(), build.rejection_note([build.text_report()]))
    assert note_of(context).state == "doubtful"
    assert [each.state for each in rows(context, Link)] == ["confirmed"]
    monkeypatch.setattr(documents, "RULE_VERSION", documents.RULE_VERSION + 1)
    read_documents(context)
    assert [each.state for each in rows(context, Link)] == ["refused"]


def test_a_study_that_turns_out_to_be_another_patients_is_let_go(
    context: Context, store: Store
) -> None:
    other = image(1, study="S2")
    store(image(1), other, build.rejection_note([image(1), other], "113037"))
    assert frozen(context) == {S1, S2}
    with context.database.write() as session:
        study = session.exec(select(Study).where(Study.study_instance_uid == S2)).one()
        study.patient_id = "P9"
        session.add(study)
        study_linker(context)(session, study)
    assert frozen(context) == {S1}
    assert in_use(context) == {S2}


def test_rejected_reports_are_never_linked_on_the_way(context: Context, store: Store) -> None:
    """Key object selections are read first, also where they come last."""
    report = build.text_report()
    assert store(image(1), report, build.rejection_note([report])).kinds == {
        "rejection": 1,
        "report": 1,
    }
    digests = [each.kind for each in sorted(rows(context, DicomDocument), key=lambda e: e.read_at)]
    assert digests == ["rejection", "report"]
    (link,) = rows(context, Link)
    assert (link.state, link.rule) == ("refused", "report rejected")
