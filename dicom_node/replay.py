"""Filing again what was filed before, in the order of arrival that the files tell.

Decisions of persons are part of it: what one rejected is left out from the start, what one accepted
is filed at the moment of the decision. So a decision can be taken back, and nothing remains of it.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import sqlalchemy as sa
from sqlmodel import Session, SQLModel

from dicom_node.arrivals import Arrival, read_arrivals
from dicom_node.errors import Permanent
from dicom_node.filing import accept, file_object
from dicom_node.headers import Unreadable
from dicom_node.inspection import Inspector
from dicom_node.models import Series, Study
from dicom_node.quarantine import ACCEPTED, OPEN, REFUSED, QuarantineNotice, find_quarantined
from dicom_node.register import Register
from dicom_node.storage import DicomStore

GROUP = 256

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Replayed:
    """An object that was filed before.

    Args:
        arrival: the object; its header may be missing where a notice is given.
        notice: the row that it has whatever was filed before it; None: filing decides.
    """

    arrival: Arrival
    notice: QuarantineNotice | None = None


@dataclass(frozen=True)
class StoredFile:
    """A file to be filed again.

    Args:
        digest: its name.
        received_at: when it arrived.
        notice: what lies beside it in quarantine; None: nothing.
    """

    digest: str
    received_at: dt.datetime
    notice: QuarantineNotice | None = None

    @property
    def is_decided(self) -> bool:
        """Whether its row is what the notice says, and not for filing to find out."""
        return self.notice is not None and (
            bool(self.notice.decisions) or self.notice.cause == REFUSED
        )


def groups(items: Iterable[_Item], size: int = GROUP) -> Iterator[list[_Item]]:
    """Yield the items in lists of at most ``size``."""
    iterator = iter(items)
    while found := list(islice(iterator, size)):
        yield found


def read_again(
    store: DicomStore, inspector: Inspector, files: Sequence[StoredFile]
) -> list[Replayed]:
    """Read the headers of files whose rows depend on them; keep the order.

    Raises:
        OSError: the disk cannot be read.
        Transient: no parser can be had now.
    """
    undecided = [each for each in files if not each.is_decided]
    paths = [(store.path(each.digest), each.received_at) for each in undecided]
    read = {each.digest: each for each in read_arrivals(inspector, paths)}
    return [
        Replayed(_unread(each), each.notice) if each.is_decided else Replayed(read[each.digest])
        for each in files
    ]


def replay(
    register: Register, events: Iterable[Sequence[Replayed]], accepted: Iterable[StoredFile]
) -> dict[str, str]:
    """File objects again, in groups in order of arrival; the register is one for rebuilding.

    Args:
        register: in a session without rows of these objects.
        events: the objects.
        accepted: those that a person accepted.

    Returns:
        Why objects could not be accepted again, by digest; they are open.
    """
    failed: dict[str, str] = {}
    decisions = deque(sorted(accepted, key=_decided_at))
    for group in events:
        register.look_up([each.arrival for each in group])
        for position, each in enumerate(group):
            if decisions and _decided_at(decisions[0]) <= each.arrival.received_at:
                failed |= _accept_until(register, decisions, each.arrival.received_at)
                register.look_up([rest.arrival for rest in group[position:]])
            if each.notice is None:
                file_object(register, each.arrival)
            else:
                register.record(each.notice, each.arrival.received_at)
        register.write()
    failed |= _accept_until(register, decisions, None)
    register.write()
    return failed


def drop_unless_referenced(session: Session, study_instance_uids: Sequence[str]) -> list[str]:
    """Delete the rows of studies without any file; return those that other rows still need."""
    kept: set[str] = set()
    uids = list(study_instance_uids)
    for column in _references():
        kept.update(session.scalars(sa.select(column).where(column.in_(uids)).distinct()))
    for uid in uids:
        if uid not in kept and (study := session.get(Study, uid)) is not None:
            session.delete(study)
    session.flush()
    return sorted(kept)


def _references() -> Iterator[sa.Column[str]]:
    """Yield every column that refers to a study, but those of the index itself."""
    for table in SQLModel.metadata.tables.values():
        if table.name == Series.__tablename__:
            continue
        for key in table.foreign_keys:
            if key.target_fullname == "study.study_instance_uid":
                yield key.parent


def _unread(each: StoredFile) -> Arrival:
    return Arrival(each.digest, each.received_at, Unreadable("not read"))


def _decided_at(each: StoredFile) -> dt.datetime:
    if each.notice is None or each.notice.state != ACCEPTED:
        raise ValueError("nobody accepted this object")
    return each.notice.decisions[-1].decided_at


def _accept_until(
    register: Register, decisions: deque[StoredFile], until: dt.datetime | None
) -> dict[str, str]:
    failed = {}
    while decisions and (until is None or _decided_at(decisions[0]) <= until):
        each = decisions.popleft()
        path = register.store.path(each.digest)
        (arrival,) = read_arrivals(register.inspector, [(path, each.received_at)])
        register.look_up([arrival])
        try:
            accept(register, arrival, each.notice.cause if each.notice else "")
        except Permanent as error:
            row = find_quarantined(register.session, each.digest)
            if row is not None:
                row.state = OPEN
                register.session.add(row)
            failed[each.digest] = str(error)
        register.write()
    return failed
