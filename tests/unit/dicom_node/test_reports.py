from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session, col, select

from dicom_node.database import Database
from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.files import read_hl7_file
from dicom_node.linking.models import PatientEvent
from dicom_node.messages import CUT_SHORT, REUSED, file_records, filed_position
from dicom_node.mllp.journal import Position, Record
from dicom_node.models import Link, Message, Patient, Quarantined, Report
from dicom_node.reports.queries import current_reports
from dicom_node.rereading import Which, reread
from tests.hl7_builders import (
    HL7,
    LINKING,
    NOW,
    add,
    clock,
    database,
    linking_of,
    merge,
    oru,
    receive,
    shared_folder,
    study,
)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Database]:
    opened = database(tmp_path)
    yield opened
    opened.close()


def _versions(made: Database) -> list[tuple[int, str, bool, str]]:
    with made.read() as session:
        rows = session.exec(select(Report).order_by(col(Report.version))).all()
        return [(each.version, each.result_status, each.is_current, each.text) for each in rows]


def _messages(made: Database) -> list[Message]:
    with made.read() as session:
        return list(session.exec(select(Message).order_by(col(Message.id))))


def test_a_report_is_stored_with_its_message(made: Database) -> None:
    receive(made, oru(study_uids=["1.2.3"]))
    (message,) = _messages(made)
    assert message.content == oru(study_uids=["1.2.3"])
    assert b"\rMSA|AA|M1\r" in message.acknowledgement
    assert (message.sender, message.message_type) == ("RIS|HOSPITAL", "ORU^R01")
    assert (message.disposition, message.reason) == ("accepted", "")
    with made.read() as session:
        (report,) = current_reports(session)
        assert report.text == (
            "FINDINGS: L4/L5 disc narrowed.\nIMPRESSION: degenerative disc disease."
        )
        assert report.report_identity == "RIS|HOSPITAL|F1"
        assert report.message_id == message.id
        assert report.study_instance_uids == ["1.2.3"]
        patients = session.exec(select(Patient)).all()
        assert [(each.issuer_of_patient_id, each.patient_id) for each in patients] == [
            ("HOSP", "P1")
        ]


def test_the_same_message_again_has_no_effect(made: Database) -> None:
    first, second = receive(made, oru(), oru())
    assert (first.messages, second.messages, second.repeated) == (1, 0, 1)
    assert len(_messages(made)) == 1
    assert len(_versions(made)) == 1


def test_the_same_control_id_with_other_content_is_another_message(made: Database) -> None:
    receive(made, oru(), oru(status="C", lines=["changed"], changed="20260301130000"))
    assert [each.note for each in _messages(made)] == ["", REUSED]
    assert [each[1:3] for each in _versions(made)] == [("F", False), ("C", True)]


@pytest.mark.parametrize(
    "content",
    [
        b"this is no HL7",
        oru(control_id=""),
        oru(charset="UNICODE UTF-8", lines=["Müller"], encoding="latin-1"),
        oru(status="Q"),
        oru(lines=[]),
        oru(filler="", accession="", placer=""),
        merge("P1^^^HOSP", "P1^^^HOSP"),
    ],
    ids=["not hl7", "no MSH-10", "latin-1 as utf-8", "status", "no text", "no order", "self"],
)
def test_a_content_fault_is_quarantined_with_its_reason(
    made: Database, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    receive(made, content, content)
    (message,) = _messages(made)
    assert message.content == content
    assert message.disposition == "quarantined"
    with made.read() as session:
        (row,) = session.exec(select(Quarantined)).all()
        assert (row.kind, row.digest, row.message_id) == ("hl7", message.digest, message.id)
        assert row.reason == message.reason != ""
        assert not session.exec(select(Report)).all()
        assert not session.exec(select(PatientEvent)).all()
    assert "quarantined" in caplog.text
    assert "Müller" not in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (oru(processing="T"), "sent for training or debugging (MSH-11)"),
        (oru().replace(b"ORU^R01", b"SIU^S12"), "SIU^S12 is not used"),
        (oru(status="I"), "result status I carries no result"),
    ],
)
def test_what_is_not_used_is_kept_with_the_reason(
    made: Database, content: bytes, reason: str
) -> None:
    receive(made, content)
    (message,) = _messages(made)
    assert (message.disposition, message.reason) == ("ignored", reason)
    assert not _versions(made)


def test_a_chain_that_arrives_out_of_order_ends_the_same(made: Database) -> None:
    receive(
        made,
        oru(control_id="3", status="C", lines=["corrected"], changed="20260303"),
        oru(control_id="1", status="P", lines=["preliminary"], changed="20260301"),
        oru(control_id="2", status="F", lines=["final"], changed="20260302"),
    )
    assert _versions(made) == [
        (1, "C", True, "corrected"),
        (2, "P", False, "preliminary"),
        (3, "F", False, "final"),
    ]


def test_each_version_names_the_one_that_it_supersedes(made: Database) -> None:
    receive(
        made,
        oru(control_id="1", status="P", changed="20260301"),
        oru(control_id="2", status="F", changed="20260302"),
    )
    with made.read() as session:
        first, second = session.exec(select(Report).order_by(col(Report.version))).all()
        assert (first.supersedes_id, second.supersedes_id) == (None, first.id)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_u_makes_the_stored_text_final_in_any_order(made: Database, order: tuple[int, int]) -> None:
    messages = (
        oru(control_id="1", status="P", lines=["the text"], changed="20260301"),
        oru(control_id="2", status="U", lines=[], changed="20260302"),
    )
    receive(made, *(messages[each] for each in order))
    with made.read() as session:
        (report,) = current_reports(session)
        assert (report.result_status, report.text) == ("F", "the text")


@pytest.mark.parametrize("status", ["X", "W"])
def test_a_cancelled_report_has_no_text_and_no_current_use(made: Database, status: str) -> None:
    with made.write() as session:
        add(session, study())
    receive(made, oru(control_id="1", changed="20260301"))
    receive(made, oru(control_id="2", status=status, lines=["wrong"], changed="20260302"))
    with made.read() as session:
        assert current_reports(session) == []
        (link,) = session.exec(select(Link)).all()
        assert link.state == "withdrawn"
    assert _versions(made)[-1][1:] == (status, True, "")


def test_w_in_an_observation_withdraws_whatever_obr_25_says(made: Database) -> None:
    receive(
        made,
        oru(control_id="1", changed="20260301"),
        oru(control_id="2", status="C", line_status="W", changed="20260302"),
    )
    assert _versions(made)[-1][1] == "W"


def test_order_groups_are_reports_of_their_own(made: Database) -> None:
    second = oru(filler="F2", accession="A2", lines=["second"]).split(b"\rORC", 1)[1]
    receive(made, oru(lines=["first"]) + b"ORC" + second)
    with made.read() as session:
        found = [(each.filler_order_number, each.text) for each in current_reports(session)]
    assert found == [("F1", "first"), ("F2", "second")]


def test_order_groups_of_one_number_are_one_report(made: Database) -> None:
    second = oru(lines=["second"]).split(b"\rORC", 1)[1]
    receive(made, oru(lines=["first"]) + b"ORC" + second)
    with made.read() as session:
        assert [each.text for each in current_reports(session)] == ["first\nsecond"]


def test_a_preliminary_report_is_linked_and_stays_provisional(made: Database) -> None:
    with made.write() as session:
        add(session, study())
    receive(made, oru(status="P"))
    with made.read() as session:
        assert [each.result_status for each in current_reports(session)] == ["P"]
        assert session.exec(select(Link.state)).all() == ["confirmed"]


def test_nothing_is_stored_when_the_effects_fail(made: Database) -> None:
    how = linking_of()

    def fail(_session: Session) -> None:
        raise RuntimeError("what belongs to it broke")

    with pytest.raises(RuntimeError):
        file_records(
            made,
            [Record("message", oru(), NOW)],
            profiles=how.profiles,
            linking=how,
            clock=clock,
            position=Position(1, 10),
            inside=fail,
        )
    assert not _messages(made)
    with made.read() as session:
        assert filed_position(session) is None
    receive(made, oru())
    assert len(_messages(made)) == 1


def test_the_position_is_committed_with_the_rows(made: Database) -> None:
    how = linking_of()
    for offset in (10, 20):
        file_records(
            made,
            [Record("message", oru(), NOW)],
            profiles=how.profiles,
            linking=how,
            clock=clock,
            position=Position(7, offset),
        )
        with made.read() as session:
            assert filed_position(session) == Position(7, offset)
    assert len(_messages(made)) == 1


def test_what_arrived_of_a_refused_stream_is_kept_apart(made: Database) -> None:
    how = linking_of()
    torn = Record("refused", oru(), NOW, reason="the connection ended inside a message")
    for _ in range(2):
        file_records(made, [torn], profiles=how.profiles, linking=how, clock=clock)
    assert [each.disposition for each in _messages(made)] == ["quarantined"]
    receive(made, oru())
    assert len(_versions(made)) == 1


def test_a_message_that_was_cut_short_counts_no_more(made: Database) -> None:
    how = linking_of()
    with made.write() as session:
        add(session, study())
    receive(made, oru(), oru(control_id="2", filler="F2", accession="A2"))
    message = _messages(made)[0]
    suspect = Record("suspect", b"MSH|", NOW, digest=message.digest)
    file_records(made, [suspect], profiles=how.profiles, linking=how, clock=clock)
    message = _messages(made)[0]
    assert (message.disposition, message.reason) == ("quarantined", CUT_SHORT)
    with made.read() as session:
        assert [each.filler_order_number for each in current_reports(session)] == ["F2"]
        assert session.exec(select(Link.state)).all() == ["withdrawn"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_message_that_was_called_cut_short_counts_when_it_is_sent_again(
    made: Database, at_once: bool
) -> None:
    how = linking_of()
    with made.write() as session:
        add(session, study())
    message = Record("message", oru(), NOW, digest=hashlib.sha256(oru()).hexdigest())
    suspect = Record("suspect", b"MSH|", NOW, digest=message.digest)

    def file(*records: Record) -> None:
        for some in [records] if at_once else [(each,) for each in records]:
            file_records(made, some, profiles=how.profiles, linking=how, clock=clock)

    def states() -> list[str]:
        with made.read() as session:
            links = select(Link.state).join(Report, col(Report.id) == col(Link.report_id))
            return [
                *session.exec(select(Message.disposition)),
                *session.exec(select(Quarantined.state)),
                *session.exec(links.where(col(Report.is_current))),
            ]

    file(message, suspect, message)
    assert states() == ["accepted", "accepted", "confirmed"]
    file(suspect)
    assert states() == ["quarantined", "open"]
    file(message, message)
    assert states() == ["accepted", "accepted", "confirmed"]


def test_reports_part_again_when_what_joined_them_was_cut_short(made: Database) -> None:
    how = linking_of()
    child = oru(control_id="3", filler="F2", changed="20260302", lines=["ADDENDUM: more"])
    child = child.replace(b"||MR|F\r", b"||MR|F||||^F1\r")
    receive(made, oru(lines=["one"]), oru(control_id="2", filler="F2", lines=["two"]), child)
    with made.read() as session:
        assert len(current_reports(session)) == 1
    suspect = Record("suspect", b"MSH|", NOW, digest=hashlib.sha256(child).hexdigest())
    file_records(made, [suspect], profiles=how.profiles, linking=how, clock=clock)
    with made.read() as session:
        found = {each.filler_order_number: each.text for each in current_reports(session)}
    assert found == {"F1": "one", "F2": "two"}


def test_a_batch_in_one_frame_gives_its_messages(made: Database) -> None:
    one, two = oru(), oru(control_id="2", filler="F2", accession="A2")
    receive(made, b"BHS|^~\\&\r" + one + two + b"BTS|2\r")
    assert [each.content for each in _messages(made)] == [one, two]
    receive(made, two)
    assert len(_messages(made)) == 2


def test_a_batch_that_was_cut_short_counts_as_a_whole(made: Database) -> None:
    receive(made, b"BHS|^~\\&\r" + oru() + b"BTS|2\r")
    assert [each.disposition for each in _messages(made)] == ["quarantined"]
    assert not _versions(made)


def test_a_message_is_read_again_under_another_profile(made: Database) -> None:
    with made.write() as session:
        add(session, study())
    wrong = oru(status="Wet Read", line_status="P")
    receive(made, wrong, oru(control_id="2", filler="F2", accession="A2"))
    assert [each.disposition for each in _messages(made)] == ["quarantined", "accepted"]
    feed = FeedProfile(sender="RIS|HOSPITAL", result_statuses={"Wet Read": "P"}, charset="utf-8")
    how = linking_of(HL7.model_copy(update={"feeds": (feed,)}), LINKING)
    done = reread(
        made, Which(sender="RIS|HOSPITAL"), profiles=how.profiles, linking=how, clock=clock
    )
    assert (done.messages, done.changed, done.accepted) == (2, 1, 2)
    with made.read() as session:
        assert [each.result_status for each in current_reports(session)] == ["F", "P"]
        assert session.exec(select(Link.state)).all() == ["confirmed"]
        assert [each.state for each in session.exec(select(Quarantined))] == ["accepted"]
    again = reread(made, Which(ids=(1, 2)), profiles=how.profiles, linking=how, clock=clock)
    assert (again.messages, again.changed) == (2, 0)
    assert len(_versions(made)) == 2


def test_reports_of_a_feed_that_nobody_accepted_do_not_link(made: Database) -> None:
    with made.write() as session:
        add(session, study())
    strict = HL7.model_copy(update={"accept_unknown_feeds": False})
    receive(made, oru(), hl7=strict)
    with made.read() as session:
        (link,) = session.exec(select(Link)).all()
        assert (link.state, link.rule) == ("proposed", "feed not accepted")
    how = linking_of()
    reread(made, Which(sender="RIS|HOSPITAL"), profiles=how.profiles, linking=how, clock=clock)
    with made.read() as session:
        assert session.exec(select(Link.state)).all() == ["confirmed"]


def test_a_corpus_is_accounted_for(made: Database) -> None:
    feed = FeedProfile(
        sender="SOMERIS|ABCHOSP", accession_number_fields=("OBR-3",), charset="utf-8"
    )
    settings = HL7.model_copy(update={"feeds": (feed,)})
    contents = [
        message
        for path in sorted(shared_folder("hl7").glob("scout_synthetic_rad/**/*.log"))[::14]
        for message in read_hl7_file(path)
    ]
    receive(made, *contents, hl7=settings)
    rows = _messages(made)
    assert {each.content for each in rows} == set(contents)
    assert all(each.reason for each in rows if each.disposition != "accepted")
    accepted = [each for each in rows if each.disposition == "accepted"]
    with made.read() as session:
        assert len(session.exec(select(Report)).all()) == len(accepted) >= 10
        assert {each.result_status for each in current_reports(session)} <= {"P", "F"}
