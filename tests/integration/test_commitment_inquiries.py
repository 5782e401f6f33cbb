"""An archive that took a structured report is asked to commit to it, whatever it answers."""

import datetime as dt
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from dicom_node.archive_settings import PacsPeer
from dicom_node.commitment import asking
from dicom_node.commitment.models import CommitmentInquiry, CommitmentTransaction
from dicom_node.commitment.notices import REPORT, IncomingNotice, Sender
from dicom_node.models import Transmission
from dicom_node.storage import DicomStore
from plugin.context import Context, open_context
from plugin.demo.node import wait_until
from plugin.errors import Permanent
from plugin.settings import Settings, load_settings
from plugin.settings_template import render
from plugin.simulation.pacs import PacsDouble
from plugin.stages import inquiries
from plugin.stages.commitments import file_commitments
from plugin.stages.inquiries import ask_archive, retry_commitment, waiting_inquiries
from plugin.stages.send import send_report
from tests.builders import encode, mr_image, uid, write_file
from tests.cohort_builders import add_said, add_study
from tests.commitment_room import MR, Archive, outcome
from tests.index_room import NOW
from tests.nodes import prepare_node
from tests.peers import running_orthanc
from tests.retrieval_builders import running_dcmqrscp

STUDY, NAME = uid("study", "S1"), "2.25.77"


class Site:
    """A node that is not served, with a clock in the test's hand."""

    def __init__(self, context: Context) -> None:
        self.now = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
        self.context = replace(context, clock=lambda: self.now)
        DicomStore(context.folder.root).recover()

    def know(self, port: int, **values: Any) -> None:
        """Name the archive in the settings."""
        values = {"commitment_linger_seconds": 5.0, "commitment": True} | values
        peer = PacsPeer(name="pacs", ae_title="PACS", port=port, **values)
        settings = self.context.settings.model_copy(update={"pacs": (peer,)})
        self.context = replace(self.context, settings=settings)

    def inquire(self) -> None:
        with self.context.database.write() as session:
            session.add(
                CommitmentInquiry(
                    transmission_id=1, peer="pacs", sop_class_uid=MR, sop_instance_uid=NAME,
                    study_instance_uid=STUDY, created_at=self.now, due_at=self.now,
                )
            )  # fmt: skip

    def sweep(self) -> int:
        due = waiting_inquiries(self.context)
        for row in due:
            ask_archive(self.context, row.id or 0, row.rounds, row.attempts)
        return len(due)

    @property
    def row(self) -> CommitmentInquiry:
        with self.context.database.read() as session:
            return session.exec(select(CommitmentInquiry)).one()

    def transactions(self) -> list[str]:
        with self.context.database.read() as session:
            return list(session.exec(select(CommitmentTransaction.transaction_uid)))

    def receive(self, calling: str, transaction: str, failed: int = 0) -> None:
        """Take a report as a receiver does, and file it."""
        named = [(MR, NAME)]
        lost = dict.fromkeys(named, failed) if failed else {}
        store = DicomStore(self.context.folder.root)
        sender = Sender(calling, "RADLOOP", "127.0.0.1")
        notice = IncomingNotice(
            store.intake, REPORT, 2 if failed else 1, sender, "1.2.840.10008.1.2.1"
        )
        notice.write(encode(outcome(transaction, [] if failed else named, lost)))
        assert notice.keep() == (0, "")
        assert file_commitments(self.context) == 1


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "radloop.toml"
    path.write_text(render().replace("minimum_free_bytes = 1073741824", "minimum_free_bytes = 0"))
    return load_settings(path)


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    with open_context(settings) as context:
        yield Site(context)


@pytest.mark.parametrize("when", ["before", "after", "foreign"])
@pytest.mark.parametrize("failed", [0, 0x0112])
def test_a_report_on_the_same_association_counts(site: Site, when: str, failed: int) -> None:
    with Archive(reports=when, failed=failed) as archive:
        site.know(archive.port)
        site.inquire()
        assert site.sweep() == 1
        assert site.row.state == ("failed" if failed else "committed")
        assert site.row.failure_reason == (failed or None)
        assert archive.asked == site.transactions()
        assert archive.asked[0].startswith("2.25.")
    assert archive.statuses == ([0x0115, 0] if when == "foreign" else [0])
    site.now += dt.timedelta(days=1)
    assert site.sweep() == 0


def test_a_report_that_comes_later_counts_and_only_from_who_was_asked(site: Site) -> None:
    with Archive(reports="never") as archive:
        site.know(archive.port, commitment_linger_seconds=0.0)
        site.inquire()
        site.sweep()
        assert site.row.state == "asked"
        (transaction,) = site.transactions()
        site.receive("OTHER", transaction)
        site.receive("PACS", "2.25.1")
        assert site.row.state == "asked"
        site.receive("PACS", transaction)
        assert site.row.state == "committed"
        # The same archive has thought about it, and its last word counts.
        site.receive("PACS", transaction, failed=0x0110)
        assert (site.row.state, site.row.failure_reason) == ("failed", 0x0110)
        assert "processing failure (0x0110)" in site.row.last_error


def test_without_an_answer_it_is_asked_again_and_not_for_ever(site: Site) -> None:
    with Archive(reports="never") as archive:
        site.know(archive.port, commitment_attempts=2, commitment_linger_seconds=0.0)
        site.inquire()
        assert [site.sweep(), site.sweep()] == [1, 0]
        for state in ("asked", "timed out"):
            site.now += dt.timedelta(seconds=3601)
            assert site.sweep() == 1
            assert site.row.state == state
        assert len(archive.asked) == len(set(archive.asked)) == 2
        assert site.row.last_error == "no answer after 2 requests"
        # An answer under the first UID still tells the truth.
        site.receive("PACS", archive.asked[0])
        assert site.row.state == "committed"
        with pytest.raises(Permanent, match="has ended without success"):
            retry_commitment(site.context, "inquiry", site.row.id or 0)


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (Archive(roles=None), "accepts none of the services"),
        (Archive(roles=(False, True)), "does not let us be the user"),
        (Archive(status=0x0123, reports="never"), "refuses the request (0x0123)"),
    ],
)
def test_an_archive_that_does_not_offer_it(site: Site, archive: Archive, reason: str) -> None:
    with archive:
        site.know(archive.port)
        site.inquire()
        site.sweep()
    assert site.row.state == "refused"
    assert reason in site.row.last_error
    assert retry_commitment(site.context, "inquiry", site.row.id or 0) == {"queued": 1}
    assert (site.row.state, site.row.rounds, site.row.attempts) == ("queued", 1, 0)


@pytest.mark.peer
def test_dcmqrscp_has_no_such_service_and_is_asked_once(site: Site, tmp_path: Path) -> None:
    with running_dcmqrscp(tmp_path / "archive") as archive:
        site.know(archive.port)
        site.inquire()
        assert site.sweep() == 1
        site.now += dt.timedelta(days=1)
        assert site.sweep() == 0
    assert site.row.state == "refused"
    assert "accepts none of the services" in site.row.last_error


def test_an_archive_that_cannot_take_it_now_is_tried_again(site: Site) -> None:
    with Archive(status=0x0213, reports="never") as archive:
        site.know(archive.port, maximum_attempts=2, first_retry_seconds=4.0)
        site.inquire()
        site.sweep()
        assert (site.row.state, site.row.last_error) == ("queued", "the archive answers 0x0213")
        site.now += dt.timedelta(seconds=3)
        assert site.sweep() == 0
        site.now += dt.timedelta(seconds=2)
        assert site.sweep() == 1
    assert site.row.state == "timed out"


def test_an_archive_that_is_away_is_tried_again(site: Site) -> None:
    with Archive() as archive:
        port = archive.port
    site.know(port)
    site.inquire()
    site.sweep()
    assert site.row.state == "queued"
    assert "cannot be reached" in site.row.last_error


def test_an_attempt_that_was_made_is_not_made_again(site: Site) -> None:
    """A workflow that a crash cut off is run again by the queue."""
    with Archive(reports="never") as archive:
        site.know(archive.port, commitment_linger_seconds=0.0)
        site.inquire()
        ask_archive(site.context, 1, 0, 0)
        ask_archive(site.context, 1, 0, 0)
        assert len(archive.asked) == 1


def test_an_archive_that_is_still_listened_to_is_not_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def linger(_reports: Any, _seconds: float) -> None:
        found.append((site.row.state, site.row.asked))
        site.now += dt.timedelta(days=1)
        found.append(waiting_inquiries(site.context))
        ask_archive(site.context, 1, 0, 1)

    monkeypatch.setattr(asking._Reports, "serve", linger)
    with Archive(reports="never") as archive:
        site.know(archive.port)
        site.inquire()
        assert site.sweep() == 1
        assert found == [("asked", 1), []]
        assert (site.row.state, site.row.running, len(archive.asked)) == ("asked", "", 1)


def test_a_late_answer_to_an_earlier_question_changes_nothing(site: Site) -> None:
    with Archive(reports="never") as archive:
        site.know(archive.port, commitment_attempts=2, commitment_linger_seconds=0.0)
        site.inquire()
        site.sweep()
        site.now -= dt.timedelta(days=3)  # the clock was set back
        site.sweep()
        first, second = archive.asked
        site.receive("PACS", second, failed=0x0110)
        site.receive("PACS", first)
        assert (site.row.state, site.row.failure_reason) == ("failed", 0x0110)
        site.receive("PACS", second)
        assert site.row.state == "committed"


def test_errors_that_nobody_expects_are_counted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("1.2.840.PATIENT")

    monkeypatch.setattr(inquiries, "_claim", fail)
    site.know(104, maximum_attempts=2)
    site.inquire()
    for state in ("queued", "timed out"):
        site.sweep()
        assert (site.row.state, site.row.last_error) == (
            state,
            "an unexpected error (RuntimeError)",
        )
        site.now += dt.timedelta(hours=1)


def test_an_archive_that_left_the_settings(site: Site) -> None:
    site.inquire()
    site.sweep()
    assert site.row.state == "refused"
    assert "do not name this archive" in site.row.last_error


@contextmanager
def queued(context: Context, peer: PacsPeer, name: str = NAME) -> Iterator[Context]:
    """Have a structured report wait for an archive."""
    changed = context.settings.model_copy(update={"pacs": (peer,)})
    context = replace(context, settings=changed)
    path = write_file(context.folder.reports / "1.dcm", mr_image())
    with context.database.write() as session:
        add_study(session, STUDY, "P1")
        add_said(session, STUDY, name)
        session.add(
            Transmission(
                sop_instance_uid=name, sop_class_uid=MR, study_instance_uid=STUDY,
                peer=peer.name, path=os.path.relpath(path, context.folder.root), created_at=NOW,
            )
        )  # fmt: skip
    yield context


@pytest.mark.parametrize("wanted", [True, False])
def test_a_delivery_is_followed_by_an_inquiry_where_the_settings_say_so(
    settings: Settings, tmp_path: Path, wanted: bool
) -> None:
    archive = PacsDouble(tmp_path / "archive").start()
    try:
        peer = PacsPeer(ae_title=archive.ae_title, port=archive.port, commitment=wanted)
        with open_context(settings) as opened, queued(opened, peer) as context:
            assert send_report(context, NAME, "pacs", 1) is None
            with context.database.read() as session:
                rows = session.exec(select(CommitmentInquiry)).all()
            assert [(row.sop_instance_uid, row.state) for row in rows] == (
                [(NAME, "queued")] if wanted else []
            )
    finally:
        archive.stop()


def test_orthanc_commits_to_what_it_took_and_not_to_what_it_lacks(tmp_path: Path) -> None:
    node = prepare_node(tmp_path / "node")
    modality = {
        "AET": "RADLOOP", "Host": "127.0.0.1", "Port": node.ports.dicom,
        "AllowStorageCommitment": True,
    }  # fmt: skip
    with running_orthanc(tmp_path / "orthanc", DicomModalities={"node": modality}) as orthanc:
        text = node.config.read_text() + (
            f'\n[[pacs]]\nname = "pacs"\nae_title = "PACS"\nport = {orthanc.port}\n'
            "commitment = true\ncommitment_linger_seconds = 0.5\n"
        )
        node.config.write_text(text)
        image = mr_image()
        named = str(image.SOPInstanceUID)
        settings = load_settings(node.config)
        with (
            open_context(settings) as opened,
            queued(opened, settings.pacs[0], named) as context,
            context.database.write() as session,
        ):
            session.add(
                CommitmentInquiry(
                    transmission_id=99, peer="pacs", sop_class_uid=MR,
                    sop_instance_uid="2.25.5", study_instance_uid=STUDY,
                    created_at=NOW, due_at=NOW,
                )
            )  # fmt: skip
        node.start()
        try:
            query = (
                "SELECT sop_instance_uid, state, failure_reason FROM commitment_inquiry "
                "WHERE state NOT IN ('queued', 'asked') ORDER BY transmission_id"
            )
            wait_until(lambda: len(_rows(node.data, query)) == 2, 60, "both answers")
            assert _rows(node.data, query) == [
                (named, "committed", None),
                ("2.25.5", "failed", 0x0112),
            ]
            found = node.status()
            assert found["commitment_inquiries"] == {"committed": 1, "failed": 1}
            (failed,) = found["commitments_failed"]
            assert failed["failure_reason"] == "no such object instance (0x0112)"
            said = [line for line in node.log.read_text().splitlines() if "inquiry" in line]
            assert len(said) == 1
            assert "failed: the archive did not commit: no such object instance" in said[0]
            assert "2.25.5" not in said[0]
        finally:
            node.stop()


def _rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    path = data / "radloop.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query).fetchall()
