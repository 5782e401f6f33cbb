"""A node's database on its own: messages go in as the journal gives them, studies as rows."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlmodel import SQLModel, col, select

from dicom_node.database import Database, insert_if_absent
from dicom_node.feeds.registry import Profiles
from dicom_node.linking.links import Linking, relink
from dicom_node.linking.queries import explain, unlinked_reports
from dicom_node.linking.touched import Touched
from dicom_node.messages import file_records
from dicom_node.mllp.journal import Record
from dicom_node.models import Link, Message, Report, Series, Study
from tests.acceptance.adversarial.hospital import Arrival
from tests.acceptance.adversarial.sites import hl7_settings, linking_settings
from tests.acceptance.adversarial.verdict import Found

_START = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
_FILLER = re.compile(rb"\rOBR\|1\|[^|]*\|([^|^\r]*)")
_IN_MEMORY = Path("/dev/shm")


def scratch_folder(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """Return a folder that goes when it is closed; in memory where the system has such a place."""
    return tempfile.TemporaryDirectory(
        prefix=prefix, dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None
    )


class FilingNode:
    """Files what arrives, and tells what became of it.

    Args:
        folder: for the database.
    """

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'node.sqlite'}")
        SQLModel.metadata.create_all(self.database.engine)
        self._profiles = Profiles(hl7_settings())
        self._linking = Linking(linking_settings(), profiles=self._profiles)
        self.issuers_of = self._linking.issuers_of()
        self._received = 0

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def clock(self) -> dt.datetime:
        """The time: a moment later for every message."""
        return _START + dt.timedelta(microseconds=self._received)

    def take(self, arrivals: Sequence[Arrival], *, studies_first: bool = False) -> None:
        """File everything of a batch: its messages in one transaction, its studies in another."""
        messages = [each.message for each in arrivals if each.message]
        studies = [each for each in arrivals if each.study is not None]
        if studies_first:
            self._index(studies)
        self._file(messages)
        if not studies_first:
            self._index(studies)

    def _file(self, messages: Iterable[bytes]) -> None:
        records = []
        for content in messages:
            self._received += 1
            records.append(Record("message", content, self.clock()))
        if records:
            file_records(
                self.database,
                records,
                profiles=self._profiles,
                linking=self._linking,
                clock=self.clock,
            )

    def _index(self, arrivals: Iterable[Arrival]) -> None:
        times = {"first_received_at": self.clock(), "last_received_at": self.clock()}
        studies = [each.study | times for each in arrivals if each.study is not None]
        series = [each.series for each in arrivals if each.series is not None]
        if not studies:
            return
        with self.database.write() as session:
            insert_if_absent(session, Study, studies)
            insert_if_absent(session, Series, series)
            touched = Touched(studies={each["study_instance_uid"] for each in studies})
            relink(session, touched, self._linking, self.clock)

    def found(self) -> dict[tuple[str, str], list[Found]]:
        """Return the current reports by sender and filler order number, with links and reasons."""
        with self.database.read() as session:
            reports = session.exec(
                select(Report.id, Message.sender, Report.filler_order_number, Report.text)
                .join(Message, col(Message.id) == col(Report.message_id))
                .where(col(Report.is_current))
            ).all()
            confirmed: dict[int, set[str]] = {}
            rows = session.exec(
                select(Link.report_id, Link.study_instance_uid).where(Link.state == "confirmed")
            )
            for report_id, uid in rows:
                confirmed.setdefault(report_id, set()).add(uid)
            still_open: dict[int, set[str]] = {}
            rows = session.exec(
                select(Link.report_id, Link.reason).where(
                    col(Link.state).in_(("suspended", "proposed", "refused"))
                )
            )
            for report_id, why in rows:
                still_open.setdefault(report_id, set()).add(why)
            reasons = dict(unlinked_reports(session))
            found: dict[tuple[str, str], list[Found]] = {}
            for report_id, sender, filler, text in reports:
                key = report_id or 0
                linked = frozenset(confirmed.get(key, ()))
                reason = ""
                if not linked:
                    reason = reasons.get(key) or str(explain(session, key)["reason"])
                why_open = frozenset(still_open.get(key, ()))
                report = Found(text, linked, reason, why_open)
                found.setdefault((sender, filler), []).append(report)
        return found

    def stale_links(self) -> int:
        """Return the number of confirmed links of versions that do not hold."""
        with self.database.read() as session:
            return len(
                session.exec(
                    select(Link.id)
                    .join(Report, col(Report.id) == col(Link.report_id))
                    .where(Link.state == "confirmed", col(Report.is_current).is_(False))
                ).all()
            )

    def set_aside(self) -> dict[tuple[str, str], str]:
        """Return why messages are in quarantine, by sender and filler order number."""
        found = {}
        with self.database.read() as session:
            rows = session.exec(
                select(Message.sender, Message.content, Message.reason).where(
                    Message.disposition == "quarantined"
                )
            )
            for sender, content, reason in rows:
                if match := _FILLER.search(content):
                    found[sender, match.group(1).decode("ascii", "replace")] = reason
        return found
