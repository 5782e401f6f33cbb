"""What is promised is true and stays true: waiting for the index, retention, erasure, attempts."""

import datetime as dt
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlmodel import select

from dicom_node.archive_settings import PacsPeer
from dicom_node.commitment import filing, notices
from dicom_node.commitment.addresses import report_address
from dicom_node.commitment.models import (
    CommitmentInquiry,
    CommitmentReference,
    CommitmentRequest,
    CommitmentTransaction,
    CommittedInstance,
)
from dicom_node.commitment.notices import REQUEST, IncomingNotice, Sender
from dicom_node.errors import InvalidSettings
from dicom_node.indexing import index_spool
from dicom_node.keeping_settings import CommitmentSettings, ErasureSettings
from dicom_node.keeping_settings import RetentionRule as Rule
from dicom_node.models import Instance, SupersededInstance
from dicom_node.settings import CallingPeer, DicomSettings
from dicom_node.storage import DicomStore
from dicom_node.tls import server_context
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages import commitments
from plugin.stages.commitment_leases import free_attempts
from plugin.stages.commitments import (
    CommitmentUpkeep,
    file_commitments,
    report_commitment,
    waiting_requests,
)
from plugin.stages.erase import erase_patient
from plugin.stages.inquiries import retry_commitment
from plugin.stages.retain import _expire, expire_studies, find_expired
from tests.builders import encode, mr_image, received
from tests.canaries import occurrences
from tests.certificates import CertificateOffice
from tests.commitment_room import MR, Asker, Report, action, asker, missing

RULE = Rule(name="a month", older_than_days=30)


class Site:
    """A node that is not served, with a clock in the test's hand and an asker that listens."""

    def __init__(self, context: Context, peer: Asker) -> None:
        self.now = dt.datetime.now(dt.UTC)
        self.peer = peer
        dicom = DicomSettings(peers=(CallingPeer(ae_title="MODALITY", commitment_port=peer.port),))
        settings = context.settings.model_copy(update={"dicom": dicom, "retention": (RULE,)})
        self.context = replace(context, clock=lambda: self.now, settings=settings)
        self.store = DicomStore(context.folder.root)
        self.store.recover()

    def set(self, **values: Any) -> None:
        settings = CommitmentSettings(**values)
        changed = self.context.settings.model_copy(update={"commitment": settings})
        self.context = replace(self.context, settings=changed)

    def spool(self, study: str, count: int = 1) -> list[tuple[str, str]]:
        images = [mr_image(patient=study, study=study, instance=n) for n in range(count)]
        for image in images:
            self.store.store(received(image))
        return [(MR, str(image.SOPInstanceUID)) for image in images]

    def index(self) -> None:
        context = self.context
        index_spool(context.database, self.store, context.settings.dicom, context.clock)

    def take(self, study: str, count: int = 1) -> list[tuple[str, str]]:
        named = self.spool(study, count)
        self.index()
        return named

    def ask(self, transaction: str, named: list[tuple[str, str]]) -> None:
        """Take a request as a receiver does."""
        sender = Sender("MODALITY", "RADLOOP", "127.0.0.1")
        notice = IncomingNotice(self.store.intake, REQUEST, 1, sender, "1.2.840.10008.1.2.1")
        notice.write(encode(action(transaction, named)))
        assert notice.keep() == (0, "")

    def sweep(self) -> int:
        file_commitments(self.context)
        self.now = max(self.now, dt.datetime.now(dt.UTC))
        due = waiting_requests(self.context)
        for row in due:
            report_commitment(self.context, row.id or 0, row.rounds, row.attempts)
        return len(due)

    def wait(self, **time: float) -> None:
        self.now += dt.timedelta(**time)

    @property
    def row(self) -> CommitmentRequest:
        with self.context.database.read() as session:
            return session.exec(select(CommitmentRequest)).one()

    def count(self, table: Any) -> int:
        with self.context.database.read() as session:
            return len(session.exec(select(table)).all())


@pytest.fixture
def peer() -> Iterator[Asker]:
    with asker() as peer:
        yield peer


@pytest.fixture
def site(tmp_path: Path, peer: Asker) -> Iterator[Site]:
    path = tmp_path / "radloop.toml"
    path.write_text(render().replace("minimum_free_bytes = 1073741824", "minimum_free_bytes = 0"))
    with open_context(load_settings(path)) as context:
        yield Site(context, peer)


def last(site: Site) -> Report:
    return site.peer.wait(1)[-1]


# Before the judgement


def test_a_request_waits_for_what_came_before_it_and_not_for_what_came_after(site: Site) -> None:
    named = site.spool("A")
    site.ask("2.25.1", named)
    assert site.sweep() == 0
    site.index()
    site.spool("B")
    assert site.sweep() == 1
    assert last(site).committed == tuple(named)


def test_it_does_not_wait_for_ever_and_then_commits_to_nothing(site: Site) -> None:
    held = site.take("A")
    waiting = site.spool("B")
    site.ask("2.25.1", [*held, *waiting])
    assert site.sweep() == 0
    site.wait(seconds=301)
    assert site.sweep() == 1
    # What waits could be another version of what is held.
    assert last(site).failed == dict.fromkeys([*held, *waiting], 0x0110)
    assert site.count(CommittedInstance) == 0


def test_it_waits_for_what_came_before_it_by_no_clock(site: Site) -> None:
    named = site.spool("A")
    (path,) = site.store.spooled()
    later = path.stat().st_mtime + 7200  # the clock was set back after it came
    os.utime(path, (later, later))
    site.ask("2.25.1", named)
    assert site.sweep() == 0
    site.index()
    assert site.sweep() == 1
    assert last(site).committed == tuple(named)


def test_a_date_that_lies_in_the_future_counts_as_now(site: Site) -> None:
    site.ask("2.25.1", [missing(1)])
    file_commitments(site.context)
    with site.context.database.write() as session:
        row = session.exec(select(CommitmentRequest)).one()
        row.due_at = row.received_at = site.now + dt.timedelta(days=30)
        session.add(row)
    assert site.sweep() == 1
    assert site.row.state == "reported"


def test_a_file_that_was_filed_before_a_crash_is_no_new_request(site: Site) -> None:
    site.ask("2.25.1", [missing(1)])
    folder = site.store.root / "commitments"
    (path,) = folder.iterdir()
    shutil.copy2(path, site.store.root / "copy")
    site.sweep()
    shutil.copy2(site.store.root / "copy", path)
    assert site.sweep() == 0
    assert list(folder.iterdir()) == []
    assert (site.row.rounds, site.row.state, len(site.peer.reports)) == (0, "reported", 1)


# Attempts


def test_a_report_is_repeated_until_it_is_confirmed_and_then_no_more(site: Site) -> None:
    site.set(first_retry_seconds=10.0)
    named = site.take("A")
    site.ask("2.25.1", named)
    site.peer.status = 0x0110
    assert site.sweep() == 1
    assert (site.row.state, site.row.attempts, site.row.last_status) == ("waiting", 1, 0x0110)
    assert site.sweep() == 0
    site.peer.status = 0
    for delay, found in ((11, 1), (100, 0)):
        site.wait(seconds=delay)
        assert site.sweep() == found
    assert (site.row.state, len(site.peer.reports)) == ("reported", 2)
    assert site.count(CommitmentReference) == 0


def test_each_attempt_judges_anew(site: Site) -> None:
    named = site.take("A", 2)
    site.ask("2.25.1", named)
    port = site.peer.port
    site.peer.close()
    site.sweep()
    assert "cannot be reached" in site.row.last_error
    assert site.row.failures == ""
    (path, *_) = site.store.archived()
    path.unlink()
    site.peer.listen(port)
    site.wait(hours=1)
    site.sweep()
    assert sorted(last(site).failed.values()) == [0x0110]
    assert len(last(site).committed) == 1
    assert site.row.failures == "1 processing failure (0x0110)"


def test_attempts_are_bounded(site: Site) -> None:
    site.set(maximum_attempts=3)
    site.ask("2.25.1", [missing(1)])
    site.peer.status = 0x0213
    for _ in range(5):
        site.sweep()
        site.wait(hours=1)
    assert (site.row.state, site.row.attempts, len(site.peer.reports)) == ("undeliverable", 3, 3)
    assert site.row.last_error == "the peer answers 0x0213"


def test_a_refused_report_is_not_repeated(site: Site) -> None:
    site.ask("2.25.1", [missing(1)])
    site.peer.status = 0x0115
    site.sweep()
    assert site.row.state == "undeliverable"
    assert site.row.last_error == "the peer refuses the report (0x0115)"


def test_an_attempt_that_was_made_is_not_made_again(site: Site) -> None:
    site.ask("2.25.1", [missing(1)])
    site.peer.status = 0x0110
    site.sweep()
    report_commitment(site.context, site.row.id or 0, 0, 0)
    assert len(site.peer.reports) == 1


def test_an_attempt_that_runs_is_the_only_one(site: Site) -> None:
    site.set(first_retry_seconds=10.0)
    site.ask("2.25.1", [missing(1)])
    found: list[object] = []

    def meanwhile() -> None:
        site.wait(hours=3)  # longer than any delay
        found.extend(waiting_requests(site.context))
        report_commitment(site.context, site.row.id or 0, 0, 1)
        found.append(site.row.running)

    site.peer.before_answer = meanwhile
    site.peer.status = 0x0110
    site.sweep()
    assert found[:-1] == []
    assert found[-1] != ""
    assert len(site.peer.reports) == 1
    # The next one is due a while after the end of the first, not after its beginning.
    assert (site.row.state, site.row.running) == ("waiting", "")
    assert site.row.due_at >= site.now + dt.timedelta(seconds=9)


def test_what_another_attempt_has_ended_stays_ended(site: Site) -> None:
    site.ask("2.25.1", [missing(1)])

    def meanwhile() -> None:
        with site.context.database.write() as session:
            row = session.exec(select(CommitmentRequest)).one()
            row.state = "reported"
            session.add(row)

    site.peer.before_answer = meanwhile
    site.peer.status = 0x0115
    site.sweep()
    assert (site.row.state, site.row.last_error) == ("reported", "")


def test_asked_anew_while_an_attempt_runs_it_is_answered_after_it(site: Site) -> None:
    site.ask("2.25.1", [missing(1)])

    def meanwhile() -> None:
        site.ask("2.25.1", [missing(2)])
        file_commitments(site.context)
        assert waiting_requests(site.context) == []

    site.peer.before_answer = meanwhile
    site.sweep()
    site.peer.before_answer = lambda: None
    assert (site.row.state, site.row.rounds) == ("waiting", 1)
    assert site.sweep() == 1
    assert last(site).failed == {missing(2): 0x0112}


def test_a_peer_with_many_open_requests_has_to_wait(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filing, "MOST_OPEN_REQUESTS", 2)
    site.peer.status = 0x0110
    for number in range(2):
        site.ask(f"2.25.{number}", [missing(number)])
    site.sweep()

    def try_to_ask(calling: str) -> int:
        sender = Sender(calling, "RADLOOP", "127.0.0.1")
        notice = IncomingNotice(site.store.intake, REQUEST, 1, sender, "1.2.840.10008.1.2.1")
        notice.write(encode(action("2.25.9", [missing(9)])))
        return notice.keep()[0]

    assert try_to_ask("MODALITY") == 0x0213
    assert try_to_ask("OTHER") == 0
    assert not [p for p in site.store.folders.temporary.iterdir() if p.is_file()]
    site.peer.status = 0
    for _ in range(2):
        site.wait(hours=1)
        site.sweep()
    CommitmentUpkeep(site.context).attend()
    assert try_to_ask("MODALITY") == 0


def test_no_more_files_are_taken_than_can_be_filed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_MOST_FILES", 1)
    site.ask("2.25.1", [missing(1)])
    with pytest.raises(AssertionError):
        site.ask("2.25.2", [missing(2)])
    assert len(list(site.store.folders.commitments.iterdir())) == 1


def test_asking_again_before_the_answer_does_not_begin_to_count_anew(site: Site) -> None:
    site.set(maximum_attempts=3)
    site.peer.status = 0x0110
    for _ in range(3):
        site.ask("2.25.1", [missing(1)])
        site.sweep()
    assert (site.row.state, site.row.rounds, site.row.attempts) == ("undeliverable", 2, 3)


def test_what_is_old_is_forgotten_and_promises_are_not(site: Site) -> None:
    named = site.take("A")
    site.ask("2.25.1", named)
    site.sweep()
    site.peer.status = 0x0115
    site.ask("2.25.2", named)
    site.sweep()
    upkeep = CommitmentUpkeep(site.context)
    upkeep.attend()
    assert site.count(CommitmentRequest) == 2
    assert site.count(CommitmentReference) == 1
    site.wait(days=91)
    CommitmentUpkeep(site.context).attend()
    assert site.count(CommitmentRequest) == site.count(CommitmentReference) == 0
    assert site.count(CommittedInstance) == 1


def test_a_process_that_starts_forgets_the_attempts_of_the_one_before(site: Site) -> None:
    site.ask("2.25.1", [missing(1)])
    file_commitments(site.context)
    with site.context.database.write() as session:
        row = session.exec(select(CommitmentRequest)).one()
        row.running = "an earlier process"
        session.add(row)
    assert site.sweep() == 0
    free_attempts(site.context)
    assert site.sweep() == 1
    assert site.row.state == "reported"


@pytest.mark.parametrize("where", ["_claim", "_judge"])
def test_errors_that_nobody_expects_are_counted(
    site: Site, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("1.2.840.PATIENT")

    monkeypatch.setattr(commitments, where, fail)
    site.set(maximum_attempts=3)
    site.ask("2.25.1", [missing(1)])
    for state in ("waiting", "waiting", "undeliverable", "undeliverable"):
        site.sweep()
        assert (site.row.state, site.row.running) == (state, "")
        site.wait(hours=1)
    assert site.row.attempts == 3
    assert site.row.last_error == "an unexpected error (RuntimeError)"
    assert "PATIENT" not in caplog.text


def test_a_request_that_hangs_can_be_begun_anew_by_hand(site: Site) -> None:
    site.ask("2.25.1", [missing(1)])
    file_commitments(site.context)
    with pytest.raises(Permanent, match="overdue"):
        retry_commitment(site.context, "request", site.row.id or 0)
    site.wait(minutes=11)
    assert retry_commitment(site.context, "request", site.row.id or 0) == {"queued": 1}
    assert site.row.rounds == 1


def test_delays_grow_to_an_hour_whatever_the_number_of_attempts(site: Site) -> None:
    site.set(first_retry_seconds=1.0, maximum_attempts=100_000)
    assert commitments._delay(site.context, 50_000) == dt.timedelta(hours=1)


def test_a_host_that_cannot_be_looked_up_now_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no name server")

    port = site.peer.port
    line = CallingPeer(ae_title="MODALITY", host="localhost", commitment_port=port)
    changed = site.context.settings.model_copy(update={"dicom": DicomSettings(peers=(line,))})
    site.context = replace(site.context, settings=changed)
    site.ask("2.25.1", [missing(1)])
    with monkeypatch.context() as patched:
        patched.setattr("dicom_node.admission.socket.getaddrinfo", fail)
        site.sweep()
    assert (site.row.state, site.row.attempts) == ("waiting", 1)
    site.wait(hours=1)
    site.sweep()
    assert site.row.state == "reported"


def test_a_file_that_cannot_be_read_keeps_nothing_waiting(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.ask("2.25.1", [missing(1)])
    (bad,) = site.store.folders.commitments.iterdir()
    read = notices._read

    def fail(path: Path) -> Any:
        if path == bad:
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(notices, "_read", fail)
    site.ask("2.25.2", [missing(2)])
    assert site.sweep() == 1
    assert last(site).transaction == "2.25.2"
    assert list(site.store.folders.commitments.iterdir()) == [bad]


# Retention


@pytest.mark.parametrize("now_in", ["another study", "an earlier version"])
def test_no_rule_deletes_promised_bytes_that_are_no_longer_in_force(
    site: Site, now_in: str
) -> None:
    named = site.take("A")
    site.ask("2.25.1", named)
    site.sweep()
    with site.context.database.write() as session:
        promised = session.exec(select(CommittedInstance)).one()
        study = promised.study_instance_uid
        session.execute(sa.update(Instance).values(sop_instance_uid="2.25.99"))
        if now_in == "an earlier version":
            promised.study_instance_uid = "2.25.98"
            session.add(promised)
            session.add(
                SupersededInstance(
                    digest="0" * 64, sop_instance_uid=named[0][1], series_instance_uid="2.25.97",
                    study_instance_uid=study, superseded_by="1" * 64, reason="",
                    received_at=site.now,
                )
            )  # fmt: skip
    site.wait(days=40)
    shown = expire_studies(site.context, dry_run=True)
    assert shown["expired"] == []
    assert shown["kept"][0]["why"].startswith("storage commitment: promised")


def test_no_rule_deletes_what_was_promised(site: Site) -> None:
    named = site.take("A", 2)
    site.take("B")
    site.ask("2.25.1", named[:1])
    site.sweep()
    site.set(minimum_retention_days=1.0)  # what was promised stays promised
    site.wait(days=200)
    shown = expire_studies(site.context, dry_run=True)
    assert len(shown["expired"]) == 1
    (kept,) = shown["kept"]
    assert kept["why"].startswith("storage commitment: promised to a sender until ")
    expire_studies(site.context, dry_run=False)
    assert len(list(site.store.archived())) == 2
    site.wait(days=166)
    assert len(expire_studies(site.context, dry_run=False)["expired"]) == 1
    assert list(site.store.archived()) == []
    assert site.count(CommittedInstance) == 0


def test_a_later_promise_is_longer_and_never_shorter(site: Site) -> None:
    named = site.take("A")
    for days, transaction in ((10.0, "2.25.1"), (5.0, "2.25.2"), (20.0, "2.25.3")):
        site.set(minimum_retention_days=days)
        site.ask(transaction, named)
        site.sweep()
    with site.context.database.read() as session:
        until = session.exec(select(CommittedInstance)).one().kept_until
    assert dt.timedelta(days=19) < until - site.now < dt.timedelta(days=21)


def test_a_promise_that_is_made_while_a_rule_deletes_holds(site: Site) -> None:
    named = site.take("A")
    later = site.now + dt.timedelta(days=40)
    with site.context.database.read() as session:
        (found,) = find_expired(session, (RULE,), later)
    assert not found.kept
    site.ask("2.25.1", named)
    site.sweep()
    with site.context.database.write() as session:
        assert _expire(site.context, session, found) == 0
    assert last(site).committed == tuple(named)


def test_what_expired_before_the_judgement_is_not_promised(site: Site) -> None:
    named = site.take("A")
    site.ask("2.25.1", named)
    file_commitments(site.context)
    site.wait(days=40)
    assert len(expire_studies(site.context, dry_run=False)["expired"]) == 1
    site.sweep()
    assert last(site).failed == {named[0]: 0x0112}
    assert site.count(CommittedInstance) == 0


# Erasure


def erase(site: Site, patient: str) -> dict[str, Any]:
    return erase_patient(
        site.context, issuer="", patient_id=patient, by="me", reason="asked", dry_run=False
    )


def test_erasure_wins_over_a_promise_and_leaves_nothing(site: Site) -> None:
    gone, stays = site.take("A", 2), site.take("B")
    site.ask("2.25.1", [*gone, *stays])
    site.sweep()
    site.peer.status = 0x0115
    site.ask("2.25.2", gone)
    site.sweep()
    with site.context.database.write() as session:
        study = session.exec(
            select(CommittedInstance).where(CommittedInstance.sop_instance_uid == gone[0][1])
        ).one()
        session.add(
            CommitmentInquiry(
                transmission_id=1, peer="pacs", sop_class_uid=MR, sop_instance_uid="2.25.3",
                study_instance_uid=study.study_instance_uid, created_at=site.now,
                due_at=site.now,
            )
        )  # fmt: skip
        session.add(
            CommitmentTransaction(
                transaction_uid="2.25.4", inquiry_id=1, asked_at=site.now,
                study_instance_uid=study.study_instance_uid,
            )
        )  # fmt: skip
    site.ask("2.25.5", [*gone, *stays])  # a file that nobody has looked at
    found = erase(site, "A")
    assert found["files_that_still_mention"] == []
    words = [name for _, name in gone]
    assert occurrences(site.store.root, words) == []
    assert site.count(CommitmentInquiry) == site.count(CommitmentTransaction) == 0
    with site.context.database.read() as session:
        (kept,) = session.exec(select(CommittedInstance))
    assert kept.sop_instance_uid == stays[0][1]
    # An answer about the rest alone would not be an answer.
    site.peer.status = 0
    before = len(site.peer.reports)
    site.sweep()
    assert len(site.peer.reports) == before
    with site.context.database.read() as session:
        rows = session.exec(select(CommitmentRequest)).all()
    (last_row,) = [row for row in rows if row.transaction_uid == "2.25.5"]
    assert last_row.state == "undeliverable"
    assert "were erased before the answer" in last_row.last_error
    site.ask("2.25.5", [*gone, *stays])
    site.sweep()
    assert last(site).failed == dict.fromkeys(gone, 0x0112)


def test_what_is_about_to_be_erased_again_is_not_promised(site: Site) -> None:
    site.take("A")
    erase(site, "A")
    changed = site.context.settings.model_copy(update={"erasure": ErasureSettings(keep_out=True)})
    site.context = replace(site.context, settings=changed)
    returned, stays = site.take("A"), site.take("B")
    site.ask("2.25.1", [*returned, *stays])
    site.sweep()
    assert last(site).failed == {returned[0]: 0x0110}
    assert last(site).committed == tuple(stays)
    assert site.count(CommittedInstance) == 1


# Addresses


def request(**values: Any) -> CommitmentRequest:
    said = {"peer": "MODALITY", "called_ae_title": "RADLOOP", "address": "192.0.2.7"} | values
    now = dt.datetime.now(dt.UTC)
    return CommitmentRequest(transaction_uid="2.25.1", received_at=now, due_at=now, **said)


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ({"networks": ["192.0.2.0/24"], "commitment_port": 104}, ("192.0.2.7", 104)),
        ({"host": "192.0.2.7", "commitment_port": 105}, ("192.0.2.7", 105)),
        (
            {"host": "192.0.2.7", "commitment_port": 105, "commitment_host": "192.0.2.8"},
            ("192.0.2.8", 105),
        ),
        ({"host": "192.0.2.7"}, ("192.0.2.9", 106)),
        ({"host": "192.0.2.6", "commitment_port": 104}, ("192.0.2.9", 106)),
    ],
)
def test_a_report_goes_to_where_the_settings_say(
    entry: dict[str, Any], address: tuple[str, int]
) -> None:
    dicom = DicomSettings(peers=(CallingPeer.model_validate({"ae_title": "MODALITY"} | entry),))
    archive = PacsPeer(ae_title="MODALITY", host="192.0.2.9", port=106)
    found = report_address(request(), dicom, [archive])
    assert (found.host, found.port, found.ae_title) == (*address, "MODALITY")


def test_a_report_goes_by_tls_where_the_settings_say_so(site: Site, tmp_path: Path) -> None:
    office = CertificateOffice(tmp_path / "certificates")
    authority = office.authority("authority")
    ours, theirs = office.issue(authority, "node"), office.issue(authority, "modality")
    stranger = office.issue(office.authority("stranger"), "impostor")
    modality, impostor = Asker(), Asker()
    modality.listen(tls=server_context(theirs.settings(authority)))
    impostor.listen(tls=server_context(stranger.settings(authority)))
    try:
        for peer, state in ((impostor, "waiting"), (modality, "reported")):
            entry = CallingPeer(ae_title="MODALITY", commitment_port=peer.port, commitment_tls=True)
            dicom = DicomSettings(peers=(entry,), tls=ours.settings(authority))
            settings = site.context.settings.model_copy(update={"dicom": dicom})
            site.context = replace(site.context, settings=settings)
            site.ask("2.25.1", [missing(1)])
            assert site.sweep() == 1
            assert site.row.state == state
        assert (len(impostor.reports), len(modality.reports)) == (0, 1)
    finally:
        modality.close()
        impostor.close()


def test_tls_of_a_report_needs_a_certificate_of_ours() -> None:
    entry = {"ae_title": "MODALITY", "commitment_port": 104, "commitment_tls": True}
    with pytest.raises(ValidationError, match=r"commitment_tls of \[\[dicom.peers\]\] needs"):
        DicomSettings.model_validate({"peers": [entry]})


def test_a_report_without_an_address_goes_nowhere() -> None:
    other = PacsPeer(ae_title="OTHER", port=104)
    with pytest.raises(InvalidSettings, match="no address for its reports"):
        report_address(request(), DicomSettings(), [other])
