"""Erasure of what filed messages left: inputs, orders, events, decisions, notes, the journal."""

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from dicom_node.history.models import ImportedFile
from dicom_node.linking.models import (
    ImagingOrder,
    LinkDecision,
    LinkEvent,
    PatientEvent,
    PatientReview,
)
from dicom_node.mllp.journal import Journal, Record
from dicom_node.models import Message, Report
from dicom_node.reports.models import ReportInput
from plugin.context import Context, open_context
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages import erase_journal
from plugin.stages.erase import attend_erasures, erase_patient, finish_erasures
from plugin.stages.file_messages import file_waiting
from tests.canaries import occurrences
from tests.hl7_builders import merge, oru
from training.impact_models import ImpactNote

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
GONE, STAYS = "KANARI", "SPERLING"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    path = tmp_path / "radloop.toml"
    path.write_text(render(), encoding="utf-8")
    settings = load_settings(path)
    hl7 = settings.hl7.model_copy(update={"accept_unknown_feeds": True, "default_charset": "utf-8"})
    with open_context(settings.model_copy(update={"hl7": hl7})) as context:
        yield context


def patient(mark: str, number: str = "") -> str:
    return f"{mark}{number}^^^HOSP^MR"


def report(mark: str, number: str, **changes: object) -> bytes:
    values: dict[str, object] = {
        "control_id": f"{mark}{number}",
        "patient": patient(mark),
        "name": f"{mark}NAME^{mark}FIRST",
        "filler": f"{mark}FILL",
        "placer": f"{mark}PLAC",
        "accession": f"{mark}ACC",
        "lines": [f"{mark}TEXT L4-L5: stenosis."],
    }
    return oru(**(values | changes))  # type: ignore[arg-type]


def order(mark: str) -> bytes:
    return "\r".join(
        (
            f"MSH|^~\\&|RIS|HOSPITAL|RADLOOP|LAB|20260301||ORM^O01^ORM_O01|{mark}O|P|2.5.1",
            f"PID|1||{patient(mark)}||{mark}NAME^{mark}FIRST||19700101|F",
            f"ORC|NW|{mark}PLAC|{mark}FILL",
            f"OBR|1|{mark}PLAC|{mark}FILL|MR^MR^L||||||||||||||{mark}ACC",
            "",
        )
    ).encode()


def update(mark: str) -> bytes:
    return "\r".join(
        (
            f"MSH|^~\\&|ADT|HOSPITAL|RADLOOP|LAB|20260301||ADT^A08^ADT_A01|{mark}A08|P|2.5.1",
            "EVN|A08|20260301",
            f"PID|1||{patient(mark)}||{mark}NAME^{mark}FIRST||19700101|F",
            "",
        )
    ).encode()


def unmerge(mark: str, other: str) -> bytes:
    return "\r".join(
        (
            "MSH|^~\\&|ADT|HOSPITAL|RADLOOP|LAB|20270301||ADT^A37^ADT_A37|UNDO|P|2.5.1",
            "EVN|A37|20270301",
            f"PID|1||{patient(mark)}||{mark}NAME",
            f"PID|2||{patient(other)}||{other}NAME",
            "",
        )
    ).encode()


def deliver(context: Context, *contents: bytes, file: bool = True) -> None:
    """Write messages to the journal as the listener does, and file them."""
    journal = Journal(context.folder.messages)
    journal.append([Record("message", content, NOW) for content in contents])
    journal.close()
    if file:
        file_waiting(context, context.linking())


def fill(context: Context) -> None:
    for mark in (GONE, STAYS):
        deliver(
            context,
            order(mark),
            update(mark),
            merge(patient(mark, "OLD"), patient(mark), control_id=f"{mark}A40"),
            report(mark, "1", status="P"),
            report(mark, "2", changed="20260302115900"),
        )
    with context.database.write() as session:
        for row in session.exec(select(Report).where(Report.is_current)).all():
            mark = row.patient_id
            session.add_all(
                [
                    LinkDecision(
                        report_identity=row.report_identity, action="confirm",
                        study_instance_uid="",
                        decided_by="x", reason=f"{mark} asked", decided_at=NOW,
                    ),
                    LinkEvent(
                        report_id=row.id or 0, study_instance_uid="1.2", state="proposed",
                        rule="r", reason=f"{mark}", evidence={"seen": mark}, decided_at=NOW,
                    ),
                    PatientReview(
                        patient_id=mark, issuer="HOSP", decided_by="x", reason=mark, decided_at=NOW
                    ),
                    ImpactNote(artefact="labels", artefact_id=1, report_id=row.id, noted_at=NOW),
                    ImportedFile(
                        sender="s", file_digest=mark[:2], mapping_digest="m",
                        name=f"{mark}NAME_{mark}FIRST.pdf", started_at=NOW,
                    ),
                ]
            )  # fmt: skip


def erase(context: Context, mark: str = GONE) -> dict[str, object]:
    return erase_patient(
        context, issuer="HOSP", patient_id=mark, by="officer", reason="asked", dry_run=False
    )


def counts(context: Context) -> dict[str, int]:
    tables = (
        Message, ReportInput, Report, ImagingOrder, PatientEvent, PatientReview, LinkDecision,
        LinkEvent, ImpactNote,
    )  # fmt: skip
    with context.database.read() as session:
        return {each.__name__: len(session.exec(select(each)).all()) for each in tables}


def test_no_word_of_the_patient_is_left_and_the_other_keeps_everything(context: Context) -> None:
    fill(context)
    before = counts(context)
    assert occurrences(context.folder.root, [GONE])
    found = erase(context)
    assert found["not_finished"] == ""
    assert found["files_that_still_mention"] == []
    assert occurrences(context.folder.root, [GONE]) == []
    assert occurrences(context.folder.root, [STAYS])
    assert counts(context) == {name: number // 2 for name, number in before.items()}


def test_what_waits_in_the_journal_is_erased_too(context: Context) -> None:
    fill(context)
    deliver(context, report(GONE, "3", changed="20260303"), report(STAYS, "3"), file=False)
    erase(context)
    assert occurrences(context.folder.root, [GONE]) == []
    file_waiting(context, context.linking())
    assert occurrences(context.folder.root, [GONE]) == []
    with context.database.read() as session:
        assert session.exec(select(Message).where(Message.message_control_id == f"{STAYS}3")).one()


def test_an_erasure_waits_for_the_segment_that_the_listener_still_writes(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody begins another segment here, however long an erasure waits for it.
    monkeypatch.setattr(erase_journal, "_PATIENCE_SECONDS", 0.5)
    fill(context)
    listener = Journal(context.folder.messages)
    try:
        listener.append([Record("message", report(GONE, "9", changed="20260309"), NOW)])
        found = erase(context)
        assert "journal" in str(found["not_finished"])
        left = {path for path, _ in occurrences(context.folder.root, [GONE])}
        assert left
        assert all(path.startswith("hl7/") for path in left)
        assert attend_erasures(context) == 0  # nothing to do before the listener goes on
        listener.rotate()
        listener.append([Record("message", report(STAYS, "9"), NOW)])
        file_waiting(context, context.linking())
        attend_erasures(context)
        assert occurrences(context.folder.root, [GONE]) == []
        assert finish_erasures(context) == 0
    finally:
        listener.close()


def test_an_erasure_ends_the_segment_of_a_listener_that_dies_meanwhile(context: Context) -> None:
    fill(context)
    listener = Journal(context.folder.messages)
    listener.append([Record("message", report(GONE, "9", changed="20260309"), NOW)])
    dying = threading.Timer(0.5, listener.close)
    dying.start()
    found = erase(context)
    dying.join()
    assert found["not_finished"] == ""
    assert occurrences(context.folder.root, [GONE]) == []


def test_a_merge_that_was_undone_erases_nobody_else(context: Context) -> None:
    fill(context)
    deliver(context, merge(patient(GONE), patient(STAYS), control_id="BOTH"))
    deliver(context, unmerge(GONE, STAYS))
    before = occurrences(context.folder.root, [f"{STAYS}TEXT"])
    erase(context)
    assert occurrences(context.folder.root, [GONE]) == []
    assert before
    assert occurrences(context.folder.root, [f"{STAYS}TEXT"])


def test_a_merge_that_stands_is_followed(context: Context) -> None:
    fill(context)
    deliver(context, merge(patient(GONE), patient(STAYS), control_id="BOTH"))
    erase(context, STAYS)
    assert occurrences(context.folder.root, [GONE, STAYS]) == []


def test_a_message_about_two_patients_loses_its_bytes_and_the_other_keeps_the_report(
    context: Context,
) -> None:
    fill(context)
    first = report(GONE, "5", filler=f"{GONE}TWO", changed="20260305").decode()
    second = report(STAYS, "5", filler=f"{STAYS}TWO").decode().split("\r", 1)[1]
    deliver(context, (first + second).encode())
    with context.database.read() as session:
        rows = session.exec(select(ReportInput)).all()
        both = [row for row in rows if "TWO" in row.report_identity]
    if len({row.message_id for row in both}) != 1 or len(both) != 2:
        pytest.skip("the reader took the message apart or refused it")
    erase(context)
    assert occurrences(context.folder.root, [GONE]) == []
    with context.database.read() as session:
        (left,) = (
            row for row in session.exec(select(ReportInput)).all() if "TWO" in row.report_identity
        )
        message = session.get_one(Message, left.message_id)
        assert (message.content, message.message_control_id) == (b"", "erased")


def test_a_second_name_of_the_issuer_is_the_same_patient(context: Context) -> None:
    linking = context.settings.linking.model_copy(
        update={"equivalent_issuers": (("HOSP", "CLINIC"),)}
    )
    site = replace(context, settings=context.settings.model_copy(update={"linking": linking}))
    fill(site)
    deliver(site, report(GONE, "7", patient=f"{GONE}^^^CLINIC^MR", filler=f"{GONE}C"))
    erase(site)
    assert occurrences(site.folder.root, [GONE]) == []
