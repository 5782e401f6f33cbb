"""What tests of imports share: old files on disk, an import through the operation, a snapshot."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import text
from sqlmodel import SQLModel, select

from dicom_node.models import Instance, Study
from plugin.context import Context
from plugin.operations import run_operation
from plugin.status import node_status
from tests.builders import file_data_set, mr_image

IMAGES = 2
JOURNAL = "object_import"
"""The table of runs: the one that another run adds a row to."""


def part10(data_set: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return a whole file."""
    buffer = BytesIO()
    file_data_set(data_set, syntax).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def written(folder: Path, studies: int, **values: Any) -> list[Path]:
    """Write two images of each study; return their paths."""
    folder.mkdir(parents=True)
    paths = []
    for study in range(studies):
        for number in range(IMAGES):
            image = mr_image(study=f"S{study}", series=f"{study}", instance=study * 10 + number,
                             patient=f"P{study % 40}", **values)  # fmt: skip
            image.PatientName = f"Test^P{study % 40}"
            path = folder / f"IM{study:04}{number}"
            path.write_bytes(part10(image))
            paths.append(path)
    return paths


def bring_in(context: Context, source: object, **more: Any) -> dict[str, Any]:
    """Import, as the command does in the process that holds the node."""
    given = {"source": str(source), "by": "ada", "reason": "years before", "dry_run": False}
    return run_operation(context, "import dicom", {**given, **more}, lambda _: None)


def tables(context: Context) -> tuple[int, int, set[str]]:
    """Return how many instances and studies the index holds, and how they came."""
    with context.database.read() as session:
        instances = session.exec(select(Instance)).all()
        studies = session.exec(select(Study)).all()
        return len(instances), len(studies), {each.way for each in instances}


def snapshot(context: Context) -> dict[str, Any]:
    """Return every file with time and content, every row and every figure of the status.

    Left out are the journal of runs, which says that somebody ran an import, and the files of the
    database, whose rows are compared.
    """
    root = context.folder.root
    files = {
        str(path.relative_to(root)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith("radloop.sqlite")
    }
    with context.database.read() as session:
        rows = {
            name: sorted(
                str(tuple(row)) for row in session.execute(text(f'SELECT * FROM "{name}"'))
            )
            for name in sorted(SQLModel.metadata.tables)
            if name != JOURNAL
        }
    status = {key: each for key, each in node_status(context.settings).items() if key != "imports"}
    return {"files": files, "rows": rows, "status": json.dumps(status)}
