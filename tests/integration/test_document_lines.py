"""Versions of structured reports: the same line in whatever order its documents come."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.documents.models import DicomDocument
from dicom_node.models import Link, Message, Report
from plugin.context import Context
from plugin.stages.document_decisions import decide_document
from plugin.stages.documents import _Reading, read_documents
from plugin.stages.erase import erase_patient
from plugin.stages.link import decide_link
from tests import document_builders as build
from tests.builders import mr_image
from tests.document_room import S1, Store, document_room, image, kinds, ours, rows


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with document_room(tmp_path) as context:
        yield context


@pytest.fixture
def store(context: Context) -> Store:
    return Store(context)


def version(name: str, *before: Dataset, **values: Any) -> Dataset:
    """Return a report that replaces others; all are written at one time."""
    if before:
        named = [build.named(each) for each in before]
        values["PredecessorDocumentsSequence"] = build.references(named)
    return build.text_report(f"Text {name}.", name=name, **values)


def current(context: Context) -> list[str]:
    return [each.text.split("\n")[1] for each in rows(context, Report) if each.is_current]


def confirmed(context: Context) -> list[str]:
    text = {each.id: each.text.split("\n")[1] for each in rows(context, Report)}
    return [text[each.report_id] for each in rows(context, Link) if each.state == "confirmed"]


LINE = (0, 1, 2)


@pytest.mark.parametrize("order", [*permutations(LINE)])
@pytest.mark.parametrize("together", [True, False])
def test_the_last_of_a_line_holds_in_whatever_order_it_came(
    context: Context, store: Store, order: tuple[int, ...], together: bool
) -> None:
    first = version("a")
    second = version("b", first)
    line = [first, second, version("c", second)]
    store(image())
    if together:
        store(*[line[each] for each in order])
    else:
        for each in order:
            store(line[each])
    assert current(context) == confirmed(context) == ["Text c."]
    found = {each.number for each in rows(context, DicomDocument)}
    assert found == {str(first.SOPInstanceUID)}
    holding = {each.report_identity for each in rows(context, Report) if each.is_current}
    assert holding == {f"SR|PACS|{first.SOPInstanceUID}"}
    assert read_documents(context).kinds == {}
    erase_patient(context, issuer="HOSP", patient_id="P1", by="a", reason="b", dry_run=False)
    assert rows(context, Message) == rows(context, Report) == rows(context, DicomDocument) == []


@pytest.mark.parametrize("order", [*permutations(LINE)])
def test_a_second_correction_of_ours_is_a_correction_whichever_comes_first(
    context: Context, store: Store, order: tuple[int, ...]
) -> None:
    document = ours(context, image())
    first = version("first", document)
    second = version("second", first)
    cites = build.references([build.named(second)])
    citing = build.text_report("Text citing.", name="citing", PertinentOtherEvidenceSequence=cites)
    line = [first, second, citing]
    store(image())
    for each in order:
        store(line[each])
    found = {each.sop_instance_uid: each for each in rows(context, DicomDocument)}
    said = [found[str(each.SOPInstanceUID)] for each in line]
    assert [each.kind for each in said] == ["correction", "correction", "report"]
    assert all(str(document.SOPInstanceUID) in each.refers_to for each in said)
    assert current(context) == confirmed(context) == ["Text citing."]
    assert kinds(context)  # and nothing is read for ever
    assert read_documents(context).kinds == {}


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_another_patients_report_is_no_predecessor(
    context: Context, store: Store, order: tuple[int, ...], stated: bool
) -> None:
    first = version("right")
    evil = version("evil", first, study="S2", patient="P2")
    if not stated:
        evil.PredecessorDocumentsSequence[0].StudyInstanceUID = str(evil.StudyInstanceUID)
    both = [first, evil]
    store(image(), mr_image("P2", "S2", 1, IssuerOfPatientID="HOSP"))
    for each in order:
        store(both[each])
    assert sorted(current(context)) == sorted(confirmed(context)) == ["Text evil.", "Text right."]
    row = {each.sop_instance_uid: each for each in rows(context, DicomDocument)}
    found = row[str(evil.SOPInstanceUID)]
    assert found.number == found.sop_instance_uid
    assert "another study or patient" in found.why


def test_a_persons_decision_about_a_link_follows_the_report_to_its_number(
    context: Context, store: Store
) -> None:
    first = version("a")
    second = version("b", first)
    third = version("c", second)
    store(image(), third)
    (report,) = rows(context, Report)
    decide_link(context, f"#{report.id}", S1, "withdraw", by="anna", reason="not of this study")
    assert confirmed(context) == []
    store(first)
    assert confirmed(context) == ["Text a."]
    store(second)
    assert current(context) == ["Text c."]
    assert confirmed(context) == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_version_from_a_workstation_is_a_version(tmp_path: Path, order: tuple[int, ...]) -> None:
    accepted = "".join(f'[[hl7.feeds]]\nsender = "SR|{each}"\n' for each in ("PACS", "DESK"))
    with document_room(tmp_path, accepted) as context:
        store = Store(context)
        first = version("a")
        both = [(first, "PACS"), (version("b", first), "DESK")]
        store(image())
        for each in order:
            store(both[each][0], calling=both[each][1])
        assert current(context) == confirmed(context) == ["Text b."]
        assert {each.sender for each in rows(context, DicomDocument)} == {"SR|PACS"}


def test_a_version_from_a_sender_that_nobody_accepted_replaces_nothing_until_it_is(
    context: Context, store: Store
) -> None:
    first = version("a")
    store(image(), first)
    store(version("b", first), calling="DESK")
    assert confirmed(context) == ["Text a."]
    listed = context.profiles._known.listed  # type: ignore[attr-defined]
    listed["SR|DESK"] = listed["SR|PACS"].model_copy(update={"sender": "SR|DESK"})
    read_documents(context)
    assert current(context) == confirmed(context) == ["Text b."]
    assert read_documents(context).kinds == {}


def test_a_rejected_version_is_corrected_and_stays_replaced(context: Context, store: Store) -> None:
    first = version("wrong")
    note = build.rejection_note([first])
    store(image(), first, note)
    assert confirmed(context) == []
    second = version("right", first)
    store(second)
    assert current(context) == confirmed(context) == ["Text right."]
    (row,) = [each for each in rows(context, DicomDocument) if each.kind == "rejection"]
    decide_document(context, row.digest, "release", by="anna", reason="it was not so wrong")
    assert confirmed(context) == ["Text right."]
    # Where the last version is rejected, the one that it has replaced does not return.
    store(build.rejection_note([second], name="again"))
    assert confirmed(context) == []


def test_the_same_report_in_other_bytes_can_be_rejected(context: Context, store: Store) -> None:
    store(image(), version("a"))
    store(version("a", StationName="another"))  # says the same
    assert confirmed(context) == ["Text a."]
    store(build.rejection_note([version("a")]))
    assert confirmed(context) == []


def test_what_is_erased_while_it_is_read_is_not_filed(
    context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(image(), version("a"), read=False)
    file = _Reading._file

    def erased(self: _Reading, *arguments: Any) -> None:
        erase_patient(context, issuer="HOSP", patient_id="P1", by="a", reason="b", dry_run=False)
        file(self, *arguments)

    monkeypatch.setattr(_Reading, "_file", erased)
    assert read_documents(context).kinds == {}
    assert rows(context, Message) == rows(context, Report) == rows(context, DicomDocument) == []
