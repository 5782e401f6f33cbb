"""Disc crops of real lumbar MR slices with human gradings, as examples; training part only.

SPIDER (van der Graaf et al., Scientific Data 2024, CC BY 4.0): crops that others cut, and crops at
the discs that ``training.discs`` finds in every T1 and T2 slice. One slice of a series is to hand,
so a crop has one slice.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from plugin.simulation.spider import pixel_spacing
from training.disc_crops import cut_crops
from training.discs import LEVELS, search_discs
from training.geometry import Volume, stack_slices
from training.learning.example import Array, Example

OBSERVATIONS = ("disc_narrowing", "disc_bulging", "disc_degeneration")
"""The last one is Pfirrmann grade 4 or 5."""
PFIRRMANN = 5
"""Grades; a severity is the grade less one."""
GIVEN_SHAPE = (1, 32, 64)
FOUND_SHAPE = (1, 48, 64)

_COLUMNS = {"disc_narrowing": "Disc narrowing", "disc_bulging": "Disc bulging"}
_BRIGHT = 0.9  # quantile of a crop that is set to 1: the files have no common brightness
_DEGENERATE = 4
Row = Mapping[str, str]


def given_crops(folder: Path) -> list[Example]:
    """Return the crops with a sure level, each stretched to ``GIVEN_SHAPE``."""
    examples = []
    for row in rows_of(folder / "disc_labels.csv"):
        if row["mapping_sure"] == "1" and row["subset"] == "training":
            with Image.open(folder / "disc_crops" / row["file"]) as image:
                size = (GIVEN_SHAPE[2], GIVEN_SHAPE[1])
                grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR))
            pixels = grey.astype(np.float32)[np.newaxis] / 255
            bright = max(float(np.quantile(pixels, _BRIGHT)), 1e-3)
            examples.append(_example(row["file"], row, np.clip(pixels / bright, 0, 2)))
    return examples


def found_crops(folder: Path) -> tuple[list[Example], dict[str, int]]:
    """Return crops at the discs that were found in each slice, and how many slices had none."""
    gradings = {
        (row["Patient"], row["IVD label"]): row
        for row in rows_of(folder / "radiological_gradings.csv")
    }
    examples: list[Example] = []
    slices = {"searched": 0, "refused": 0}
    for row in rows_of(folder / "overview.csv"):
        path = folder / "images" / f"{row['new_file_name']}.png"
        if row["subset"] == "training" and path.is_file():
            crops = _found(path, row)
            slices["searched"] += 1
            slices["refused"] += not crops
            patient = row["new_file_name"].partition("_")[0]
            for number, crop in crops.items():
                graded = gradings.get((patient, number))
                if graded is not None:
                    examples.append(_example(f"{row['new_file_name']} {number}", graded, crop))
    return examples, slices


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the rows of a table."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _example(name: str, row: Row, crop: Array) -> Example:
    grade = int(float(row["Pfirrman grade"]))
    presence = {each: float(float(row[column]) > 0) for each, column in _COLUMNS.items()}
    return Example(
        id=name,
        patient_key=row["Patient"],
        fold="train",
        input=crop.astype(np.float32),
        presence={**presence, "disc_degeneration": float(grade >= _DEGENERATE)},
        severities={"disc_degeneration": grade - 1},
        site=row["IVD label"],
    )


def _found(path: Path, row: Row) -> dict[str, Array]:
    """Return crops by the number of the disc, counted from the sacrum upwards."""
    volume = _volume(path, row)
    search = search_discs(volume)
    crops, valid = cut_crops(volume, search.locations, LEVELS)
    return {
        str(len(LEVELS) - place): crop[1:2]  # one slice: the three of a crop are the same
        for place, (crop, usable) in enumerate(zip(crops, valid, strict=True))
        if usable
    }


def _volume(path: Path, row: Row) -> Volume:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"), dtype=np.float32)
    rows, columns = pixels.shape
    spacing = pixel_spacing(row["PixelSpacing"], rows, columns)
    corner = np.asarray((0.0, -columns * spacing[1] / 2, rows * spacing[0] / 2))
    orientation = np.asarray((0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    return stack_slices([pixels], [corner], orientation, spacing, float(row["SliceThickness"]))
