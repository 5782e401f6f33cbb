"""Which attempt at storage commitment runs: a row bears its name from the claim to its end.

One process holds the data folder, so a name that stands there at its start is of an attempt that
ended with an earlier process.
"""

from __future__ import annotations

import secrets
from typing import TypeVar

import sqlalchemy as sa
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.commitment.models import CommitmentInquiry, CommitmentRequest
from plugin.context import Context

MOST_DOUBLINGS = 30
"""Of a delay: more would be more than a number holds."""

_Row = TypeVar("_Row", CommitmentRequest, CommitmentInquiry)


def free_attempts(context: Context) -> None:
    """Forget attempts of an earlier process; before any is made in this one."""
    with context.database.write() as session:
        for table in (CommitmentRequest, CommitmentInquiry):
            session.execute(sa.update(table).where(col(table.running) != "").values(running=""))


def begin_attempt(row: CommitmentRequest | CommitmentInquiry) -> None:
    """Count an attempt and name it."""
    row.attempts += 1
    row.running = secrets.token_hex(8)


def end_attempt(
    context: Context, table: type[CommitmentRequest] | type[CommitmentInquiry], row: _Row
) -> None:
    """Let the next attempt begin when it is due; whoever asked anew meanwhile has waited for it."""
    with context.database.write() as session:
        statement = sa.update(table).where(col(table.id) == row.id)
        session.execute(statement.where(col(table.running) == row.running).values(running=""))


def same_attempt(session: Session, table: type[_Row], row: _Row) -> _Row | None:
    """Return the stored row where it is open and this attempt is the one that counts."""
    stored = session.get(table, row.id, populate_existing=True)
    if stored is None or (stored.rounds, stored.attempts, stored.running) != (
        row.rounds,
        row.attempts,
        row.running,
    ):
        return None
    return stored if stored.state in ("waiting", "queued", "asked") else None


def first_of_each_peer(
    session: Session, table: type[_Row], due: SelectOfScalar[_Row]
) -> list[_Row]:
    """Return the first due row of each peer to which no attempt is being made, oldest first."""
    busy = select(table.peer).where(col(table.running) != "")
    place = func.row_number().over(
        partition_by=col(table.peer), order_by=(col(table.due_at), col(table.id))
    )
    ranked = (
        due.where(col(table.peer).not_in(busy))
        .with_only_columns(col(table.id).label("id"), place.label("place"))
        .subquery()
    )
    first = select(ranked.c.id).where(ranked.c.place == 1)
    return list(
        session.exec(
            select(table).where(col(table.id).in_(first)).order_by(col(table.due_at), col(table.id))
        )
    )
