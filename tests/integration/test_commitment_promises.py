"""What is promised is true and stays true: waiting for the index, retention, erasure, attempts."""

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlmodel import select

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
from dicom_node.settings import CallingPeer, CommitmentSettings, DicomSettings, PacsPeer
from dicom_node.settings import RetentionRule as Rule
from dicom_node.storage import DicomStore
from dicom_node.tls import server_context
from plugin.context import Context, open_context
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.commitments import file_commitments, report_commitment, waiting_requests
from plugin.stages.erase import erase_patient
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


def test_it_does_not_wait_for_ever_and_then_says_what_it_knows(site: Site) -> None:
    held = site.take("A")
    waiting = site.spool("B")
    site.ask("2.25.1", [*held, *waiting])
    assert site.sweep() == 0
    site.wait(seconds=301)
    assert site.sweep() == 1
    assert last(site).failed == {waiting[0]: 0x0110}
    assert last(site).committed == tuple(held)


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


# Retention


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
