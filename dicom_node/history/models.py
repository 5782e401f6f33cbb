"""Table of imports: how far each file was taken."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


class ImportedFile(SQLModel, table=True):
    """A file that is imported under a mapping, and how far: committed with the rows themselves.

    The same bytes under the same mapping are the same import, whatever the file is called.
    """

    __tablename__ = "imported_file"
    __table_args__ = (UniqueConstraint("sender", "file_digest", "mapping_digest"),)

    id: int | None = Field(default=None, primary_key=True)
    sender: str  # of the messages that rows become
    file_digest: str
    mapping_digest: str
    name: str  # of the file, without folders
    position: int = 0  # rows, messages or documents that are done
    counts: dict[str, int] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    refused: list[dict[str, Any]] = Field(  # line and reason of the first ones
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    started_by: str = ""
    started_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)
    finished_at: dt.datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)
