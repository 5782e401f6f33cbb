"""Real lumbar MR slices of the SPIDER data set as examinations of the simulated hospital.

The folder holds ``images/*.png`` (mid-sagittal slices, 8-bit grey), ``overview.csv`` (scanner
values) and ``radiological_gradings.csv`` (one row for each disc). The images are real, every
report that is written for them is simulated: the pairing proves the plumbing and nothing clinical.
SPIDER: van der Graaf et al., Scientific Data 2024, CC BY 4.0.
"""

from __future__ import annotations

import ast
import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from plugin.errors import Permanent
from plugin.simulation.dicom_objects import Equipment
from plugin.simulation.phantom import PhantomSeries
from plugin.simulation.spines import ImagedSpine
from plugin.simulation.truth import LEVELS, PRESENT_FROM, LevelTruth, SpineTruth

Row = Mapping[str, str]

STUDY_DESCRIPTION = "SPIDER lumbar MR, SIMULATED pairing with report"

_FILES = ("images", "overview.csv", "radiological_gradings.csv")
# "IVD label" counts the discs from the sacrum upwards.
_LEVEL_OF_LABEL = {str(number): level for number, level in enumerate(LEVELS[::-1], start=1)}
_COLUMNS = {
    "disc_narrowing": "Disc narrowing",
    "herniation": "Disc herniation",
    "spondylolisthesis": "Spondylolisthesis",
}
_LONG_SIDE = 512  # images were shrunk so that no side is longer
_FIELD_OF_VIEW = 300.0  # mm, the usual length of the images that were not shrunk
_SHORTEST_FIELD = 250.0  # mm; a full-size image that seems shorter has been shrunk


def spider_studies(folder: Path) -> Iterator[ImagedSpine]:
    """Yield one examination for each patient with a T2 slice and gradings of all five discs.

    The data set says nothing on stenosis: its degree is NaN and reports omit it.

    Raises:
        Permanent: the folder is not that of the SPIDER slices.
    """
    missing = [name for name in _FILES if not (folder / name).exists()]
    if missing:
        raise Permanent(f"the folder of SPIDER slices lacks {', '.join(missing)}")
    truths = _truths(_rows(folder / "radiological_gradings.csv"))
    series: dict[str, list[Row]] = {}
    for row in _rows(folder / "overview.csv"):
        name = row["new_file_name"]
        if (folder / "images" / f"{name}.png").is_file():
            series.setdefault(name.partition("_")[0], []).append(row)
    for patient in sorted(series, key=int):
        t2 = [row for row in series[patient] if "_t2" in row["new_file_name"]]
        if t2 and patient in truths:
            yield _spine(folder, series[patient], truths[patient])


def _rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _truths(gradings: list[Row]) -> dict[str, SpineTruth]:
    levels: dict[str, dict[str, LevelTruth]] = {}
    for row in gradings:
        level = _LEVEL_OF_LABEL.get(row["IVD label"])
        if level is not None:
            levels.setdefault(row["Patient"], {})[level] = _level_truth(row)
    return {
        patient: SpineTruth({level: found[level] for level in LEVELS})
        for patient, found in levels.items()
        if len(found) == len(LEVELS)
    }


def _level_truth(row: Row) -> LevelTruth:
    degrees = {
        observation: PRESENT_FROM[observation] if float(row[column]) else 0.0
        for observation, column in _COLUMNS.items()
    }
    return LevelTruth(**degrees, stenosis=math.nan)


def _spine(folder: Path, rows: list[Row], truth: SpineTruth) -> ImagedSpine:
    first = rows[0]
    return ImagedSpine(
        truth=truth,
        equipment=equipment_of(first),
        study_description=STUDY_DESCRIPTION,
        draw=partial(series_of, folder, rows),
        sex=first["sex"].strip(),
        derived=True,
        graded=False,
        free_of_others=False,
    )


def equipment_of(row: Row) -> Equipment:
    """Return the scanner of a row of ``overview.csv``."""
    return Equipment(
        row["Manufacturer"], row["ManufacturerModelName"], float(row["MagneticFieldStrength"])
    )


def series_of(folder: Path, rows: Sequence[Row]) -> list[PhantomSeries]:
    """Return the series of a patient, one for each row of ``overview.csv``."""
    return [_series(folder, row) for row in rows]


def _series(folder: Path, row: Row) -> PhantomSeries:
    name = row["new_file_name"]
    with Image.open(folder / "images" / f"{name}.png") as image:
        pixels = np.asarray(image.convert("L"), dtype=np.uint16)
    rows, columns = pixels.shape
    spacing = pixel_spacing(row["PixelSpacing"], rows, columns)
    weighting = "T2" if "_t2" in name else "T1"
    described = row["SeriesDescription"]
    return PhantomSeries(
        pixels=pixels[np.newaxis],
        positions=[(0.0, -columns * spacing[1] / 2, rows * spacing[0] / 2)],
        orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
        pixel_spacing=spacing,
        slice_thickness=float(row["SliceThickness"]),
        spacing_between_slices=float(row["SpacingBetweenSlices"]),
        description=described if weighting in described.upper() else f"SAG {weighting}",
        echo_time=float(row["EchoTime"]),
        repetition_time=float(row["RepetitionTime"]),
    )


def pixel_spacing(recorded: str, rows: int, columns: int) -> tuple[float, float]:
    """Return the spacing in mm of an image that may have been shrunk to a long side of 512.

    The original matrix is not recorded. Where the recorded spacing would make a full-size image
    implausibly short, the spacing is set so that its long side is 300 mm: an estimate.
    """
    between_rows, between_columns = (float(each) for each in ast.literal_eval(recorded))
    length = max(rows * between_rows, columns * between_columns)
    if max(rows, columns) < _LONG_SIDE or length >= _SHORTEST_FIELD:
        return between_rows, between_columns
    scale = _FIELD_OF_VIEW / length
    return between_rows * scale, between_columns * scale
