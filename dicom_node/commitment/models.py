"""Tables of storage commitment: who asked us, what we promised, what we asked of archives.

None of them is derived from stored objects: ``radloop reindex`` leaves them as they are.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


def _time(*, nullable: bool = False, index: bool = False) -> Any:
    default = None if nullable else ...
    return Field(default=default, sa_type=UtcDateTime, nullable=nullable, index=index)


class CommitmentRequest(SQLModel, table=True):
    """A transaction by which a peer asked us to commit; asked again, it is answered anew."""

    __tablename__ = "commitment_request"
    __table_args__ = (UniqueConstraint("peer", "transaction_uid"),)

    id: int | None = Field(default=None, primary_key=True)
    peer: str  # calling AE title
    transaction_uid: str
    called_ae_title: str = ""
    address: str = ""  # where the request came from
    certificate: str = ""  # SHA-256 of the verified certificate; empty without TLS
    file: str = ""  # name of the file that was filed last
    state: str = Field(default="waiting", index=True)  # "waiting", "reported", "undeliverable"
    instances: int = 0  # that it names
    failures: str = ""  # how many failed and why, when they were last judged
    rounds: int = 0  # how often it was asked again, or a person had it tried again
    attempts: int = 0  # to report, in this round
    running: str = ""  # name of the attempt that is being made; empty: none
    filing: int = 0  # which request it was, in the order in which they were filed
    last_status: int | None = None  # of the N-EVENT-REPORT response
    last_error: str = ""
    received_at: dt.datetime = _time()
    due_at: dt.datetime = _time()  # of the next attempt
    judged_at: dt.datetime | None = _time(nullable=True)
    reported_at: dt.datetime | None = _time(nullable=True)


class CommitmentReference(SQLModel, table=True):
    """An instance that a request names; the rows go when the request was reported.

    What was committed is known by its promise, and what failed is known to who asked.
    """

    __tablename__ = "commitment_reference"

    id: int | None = Field(default=None, primary_key=True)
    request_id: int = Field(index=True)  # commitment_request.id
    sop_class_uid: str
    sop_instance_uid: str = Field(index=True)
    study_instance_uid: str = Field(default="", index=True)  # where the index knows it
    failure_reason: int | None = None  # 0: committed; None: not judged yet


class CommittedInstance(SQLModel, table=True):
    """What was promised: no rule of retention deletes the instance before ``kept_until``."""

    __tablename__ = "committed_instance"

    sop_instance_uid: str = Field(primary_key=True)
    study_instance_uid: str = Field(index=True)
    kept_until: dt.datetime = _time()


class CommitmentInquiry(SQLModel, table=True):
    """What we ask of an archive about one structured report that it took."""

    __tablename__ = "commitment_inquiry"

    id: int | None = Field(default=None, primary_key=True)
    transmission_id: int = Field(unique=True)  # transmission.id
    peer: str  # the archive's name in the settings
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str = Field(index=True)
    # "queued", "asked", "committed", "failed", "refused", "timed out"
    state: str = Field(default="queued", index=True)
    failure_reason: int | None = None
    rounds: int = 0  # how often a person asked to try again
    attempts: int = 0  # in this round
    asked: int = 0  # of them, how many the archive took
    running: str = ""  # name of the attempt that is being made; empty: none
    settled_by: int = 0  # number of the transaction under which the answer that counts came
    last_error: str = ""
    created_at: dt.datetime = _time()
    due_at: dt.datetime = _time()  # of the next attempt
    settled_at: dt.datetime | None = _time(nullable=True)


class CommitmentTransaction(SQLModel, table=True):
    """A Transaction UID under which an inquiry was sent; each attempt has its own."""

    __tablename__ = "commitment_transaction"

    transaction_uid: str = Field(primary_key=True)
    inquiry_id: int = Field(index=True)  # commitment_inquiry.id
    study_instance_uid: str = Field(index=True)
    number: int = 0  # of the transactions of its inquiry, from 1
    asked_at: dt.datetime = _time()


class AwaitedObject(SQLModel, table=True):
    """An object that lay in the spool when a request was filed: it may have come before it.

    Requests from ``since`` on wait until it is indexed. No clock is asked, since it may be set.
    """

    __tablename__ = "awaited_object"

    digest: str = Field(primary_key=True)
    since: int  # commitment_request.filing
