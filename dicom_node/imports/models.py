"""Tables of imports of objects: who brought what in, and how far each import is."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from dicom_node.database import UtcDateTime


class ObjectImport(SQLModel, table=True):
    """One run of an import; a run that was cut off has no end and no outcome."""

    __tablename__ = "object_import"

    id: int | None = Field(default=None, primary_key=True)
    kind: str  # "folder", "DICOMDIR" or "Orthanc"
    sender: str  # the AE title that its objects are filed under
    started_by: str
    reason: str
    outcome: str = ""  # "finished", "stopped by ...", "failed: ..."; empty: it runs, or was cut off
    counts: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    started_at: dt.datetime = Field(sa_type=UtcDateTime, nullable=False)
    finished_at: dt.datetime | None = Field(default=None, sa_type=UtcDateTime, nullable=True)


class ImportedObject(SQLModel, table=True):
    """What was taken already, so that an import that goes on need not read it again.

    ``mark`` names the file or instance by a digest (``dicom_node.imports.candidates``).
    """

    __tablename__ = "imported_object"

    mark: str = Field(primary_key=True)
    digest: str = Field(index=True)  # of the object in the store
