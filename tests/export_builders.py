"""A small node with a frozen cohort that can be exported, and series whose geometry is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.storage import DicomStore
from plugin.context import Context, open_context
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.cohort import SHORTCOMINGS, freeze_cohort
from plugin.stages.label import label_reports
from plugin.stages.reference import import_references
from tests.builders import received
from tests.canaries import SETTINGS, Person, complete, index, receive

Vector = Sequence[float]

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.0, 0.965926, -0.258819, 0.0, -0.258819, -0.965926)  # sagittal, tilted by 15 degrees

_FEED = """
[[hl7.feeds]]
sender = "RIS|HOSPITAL"
"""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a series lie (PS3.3 C.7.6.2.1.1); lengths in mm."""

    orientation: Vector = SAGITTAL
    spacing: tuple[float, float] = (1.5, 0.7)  # between rows, between columns
    gap: float = 4.4
    first: Vector = (-9.0, -80.0, 120.0)
    slices: int = 5
    rows: int = 8
    columns: int = 6

    def position(self, number: float) -> np.ndarray:
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return np.asarray(self.first) + normal * self.gap * number

    def point(self, number: float, row: float, column: float) -> np.ndarray:
        """Return the patient coordinates of a voxel, by the equation of the standard."""
        along_row, along_column = np.asarray(self.orientation).reshape(2, 3)
        between_rows, between_columns = self.spacing
        return (
            self.position(number)
            + along_row * between_columns * column
            + along_column * between_rows * row
        )

    def attributes(self, number: int) -> dict[str, object]:
        """Return the attributes of one slice; each voxel has a value of its own."""
        values = np.arange(self.rows * self.columns, dtype=np.uint16) + 1000 * number
        return {
            "Rows": self.rows,
            "Columns": self.columns,
            "ImageOrientationPatient": [f"{each:.6f}" for each in self.orientation],
            "ImagePositionPatient": [f"{each:.5f}" for each in self.position(number)],
            "PixelSpacing": list(self.spacing),
            "SliceThickness": self.gap,
            "SpacingBetweenSlices": self.gap,
            "PixelData": values.tobytes(),
        }


def series(
    person: Person, grid: Grid, *, own_pictures: bool = False, **attributes: object
) -> list[Dataset]:
    """Return a series whose files and instance numbers say nothing about the order.

    With ``own_pictures`` nobody has those of another: such people may not stand on two sides of a
    cohort.
    """
    order = np.random.default_rng(7).permutation(grid.slices)
    own = np.arange(grid.rows * grid.columns)
    if own_pictures:
        np.random.default_rng(int(person.number)).shuffle(own)
    return [
        person.image(number + 1, **{**_own(grid.attributes(int(place)), own), **attributes})
        for number, place in enumerate(order)
    ]


def _own(attributes: dict[str, object], order: np.ndarray) -> dict[str, object]:
    values = np.frombuffer(cast(bytes, attributes["PixelData"]), dtype=np.uint16)
    return {**attributes, "PixelData": values[order].tobytes()}


def add_person(context: Context, person: Person, images: Sequence[Dataset]) -> None:
    """Store, index and complete a study, and receive its final report."""
    store = DicomStore(context.folder.root)
    store.recover()
    for each in images:
        store.store(received(each))
    index(context, store)
    for message in person.messages()[1:3]:
        receive(context, message)
    complete(context, person.study)


def freeze(context: Context, readers: Sequence[Person] = ()) -> str:
    """Label and freeze the cohort "spine"; readers judged the images of some; return its digest."""
    label_reports(context, "rules", lambda _: None)
    if readers:
        rows = [f"image,{person.study},stenosis,L4-L5,R1,present" for person in readers]
        path = context.folder.root.parent / "labels.csv"
        path.write_text("\n".join(["level,subject,observation,site,reader,state", *rows, ""]))
        import_references(context, str(path))
    found = freeze_cohort(context, "spine", "rules", SHORTCOMINGS)
    return str(found["digest"])


@contextmanager
def open_node(folder: Path) -> Iterator[Context]:
    """Open a node without any data."""
    folder.mkdir()
    path = folder / "radloop.toml"
    text = render().replace('default_charset = "ascii"', 'default_charset = "utf-8"')
    text = text.replace(
        'default_issuer_of_accession_number = ""', 'default_issuer_of_accession_number = "RIS"'
    )
    path.write_text(text + SETTINGS + _FEED, encoding="utf-8")
    with open_context(load_settings(path)) as context:
        yield context
