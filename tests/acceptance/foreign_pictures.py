"""Series that a model of SIMULATED sagittal lumbar T2 was not made for, kind by kind.

A kind tells pixels, geometry and headers. ``right`` headers are those of a series that the model
was made for: only pixels can tell there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image, ImageDraw
from scipy import ndimage

from plugin.simulation import phantom
from plugin.simulation.chest_phantom import draw_chest
from plugin.simulation.truth import draw_truth
from tests.image_builders import AXIAL, CORONAL, image, save
from tests.shared_data import shared_file

SLICES = 3
COARSER = {"volume3d": 3, "disc_network": 1}
"""Pixels of the scanner a side that become one; discs are not found in coarse pictures."""
T2 = {"EchoTime": 100.0, "RepetitionTime": 3600.0}
T1 = {"EchoTime": 11.0, "RepetitionTime": 600.0}

_FIELD = phantom._FIELD_CENTRE


@dataclass(frozen=True)
class Drawn:
    """Pixels (slices, rows, columns) and the geometry and headers that they are written with."""

    pixels: np.ndarray
    orientation: tuple[float, ...]
    positions: list[tuple[float, float, float]]
    spacing: tuple[float, float]
    headers: Mapping[str, Any] = field(default_factory=dict)


def small(scanner: phantom.Scanner, coarser: int) -> phantom.Scanner:
    """Return a scanner with fewer, larger pixels and few slices over the same field."""
    down, right = scanner.pixel_spacing
    extent = scanner.spacing_between_slices * (scanner.slices - 1)
    return replace(
        scanner,
        rows=scanner.rows // coarser,
        columns=scanner.columns // coarser,
        pixel_spacing=(coarser * down, coarser * right),
        slices=SLICES,
        spacing_between_slices=extent / (SLICES - 1),
    )


@lru_cache(maxsize=256)
def lumbar(
    seed: int,
    number: int,
    weighting: phantom.Weighting = "T2",
    shift: tuple[float, float] = (0.0, 0.0),
    coarser: int = 3,
) -> Drawn:
    """Draw the lumbar spine of one simulated patient, on all scanners in turn.

    ``shift`` moves the field: mm to the front (negative) or back, and to the head (positive).
    """
    rng = np.random.default_rng([seed, number])
    scanner = small(phantom.SCANNERS[number % len(phantom.SCANNERS)], coarser)
    phantom._FIELD_CENTRE = (_FIELD[0] + shift[0], _FIELD[1] + shift[1])
    try:
        drawn = phantom.draw_series(
            draw_truth(rng), scanner, weighting, phantom.draw_anatomy(rng), rng
        )
    finally:
        phantom._FIELD_CENTRE = _FIELD
    headers = {
        "SpacingBetweenSlices": drawn.spacing_between_slices,
        "EchoTime": drawn.echo_time,
        "RepetitionTime": drawn.repetition_time,
    }
    geometry = (drawn.orientation, drawn.positions, drawn.pixel_spacing)
    return Drawn(drawn.pixels, *geometry, headers)


def write(drawn: Drawn, folder: Path) -> list[Path]:
    """Write a series as DICOM files, as a scanner of the simulated hospital would name it."""
    folder.mkdir(parents=True)
    paths = []
    for number, pixels in enumerate(drawn.pixels):
        values: dict[str, Any] = {
            "BodyPartExamined": "LSPINE",
            "ScanningSequence": "SE",
            "SequenceVariant": "SK",
            "SliceThickness": 4.0,
            "PixelSpacing": list(drawn.spacing),
            "ImageOrientationPatient": [round(each, 8) for each in drawn.orientation],
            "ImagePositionPatient": [round(each, 6) for each in drawn.positions[number]],
        }
        given = np.ascontiguousarray(np.clip(np.rint(pixels), 0, 65535).astype(np.uint16))
        made = image(given, **(values | dict(drawn.headers)))
        paths.append(save(made, folder / f"{number:02d}"))
    return paths


Pictures = Callable[[int], Drawn]
"""From a number to a series."""


def kinds(seed: int, coarser: int) -> dict[str, tuple[str, Pictures]]:
    """Return kinds of simulated series by name, with "own" or "right" headers each."""
    return {
        "T1, its own headers": ("own", lambda n: lumbar(seed, n, "T1", coarser=coarser)),
        "T1": ("right", lambda n: _as(lumbar(seed, n, "T1", coarser=coarser), **T2)),
        "field 100 mm too high": (
            "right",
            lambda n: lumbar(seed, n, shift=(0, 100), coarser=coarser),
        ),
        "field 110 mm too low": (
            "right",
            lambda n: lumbar(seed, n, shift=(0, -110), coarser=coarser),
        ),
        "field 70 mm too far back": (
            "right",
            lambda n: lumbar(seed, n, shift=(70, 0), coarser=coarser),
        ),
        "axial, its own headers": (
            "own",
            lambda n: _lying(_axial(lumbar(seed, n, coarser=coarser)), AXIAL),
        ),
        "axial": ("right", lambda n: _axial(lumbar(seed, n, coarser=coarser))),
        "coronal, its own headers": (
            "own",
            lambda n: _lying(_coronal(lumbar(seed, n, coarser=coarser)), CORONAL),
        ),
        "coronal": ("right", lambda n: _coronal(lumbar(seed, n, coarser=coarser))),
        "upside down": (
            "right",
            lambda n: _changed(lumbar(seed, n, coarser=coarser), lambda p: p[:, ::-1]),
        ),
        "back to front": (
            "right",
            lambda n: _changed(lumbar(seed, n, coarser=coarser), lambda p: p[:, :, ::-1]),
        ),
        "turned": (
            "right",
            lambda n: _changed(lumbar(seed, n, coarser=coarser), lambda p: p.transpose(0, 2, 1)),
        ),
        "cosines upside down": ("own", lambda n: _turned(lumbar(seed, n, coarser=coarser), 1)),
        "cosines back to front": ("own", lambda n: _turned(lumbar(seed, n, coarser=coarser), 0)),
        "inverted": (
            "right",
            lambda n: _changed(lumbar(seed, n, coarser=coarser), lambda p: p.max() - p),
        ),
        "clipped": ("right", lambda n: _changed(lumbar(seed, n, coarser=coarser), _clipped)),
        "middle fifth only": (
            "right",
            lambda n: _changed(lumbar(seed, n, coarser=coarser), _magnified),
        ),
        "blank": (
            "right",
            lambda n: _changed(lumbar(seed, n, coarser=coarser), lambda p: np.full_like(p, n)),
        ),
        "noise": (
            "right",
            lambda n: _changed(lumbar(seed, n, coarser=coarser), lambda p: _noise(p, n)),
        ),
        "screen of text": (
            "right",
            lambda n: _changed(lumbar(seed, n, coarser=coarser), lambda p: _text(p, n)),
        ),
        "simulated chest": (
            "right",
            lambda n: _changed(lumbar(seed, n, coarser=coarser), lambda p: _chest(p, n)),
        ),
        "Modality CT": ("own", lambda n: _as(lumbar(seed, n, coarser=coarser), Modality="CT")),
        "Modality MG": ("own", lambda n: _as(lumbar(seed, n, coarser=coarser), Modality="MG")),
        "body part HEAD": (
            "own",
            lambda n: _as(lumbar(seed, n, coarser=coarser), BodyPartExamined="HEAD"),
        ),
        "body part by no known term": (
            "own",
            lambda n: _as(lumbar(seed, n, coarser=coarser), BodyPartExamined="BEIN LINKS"),
        ),
        "field of 60 mm": (
            "own",
            lambda n: replace(
                lumbar(seed, n, coarser=coarser), spacing=(0.27 * coarser, 0.27 * coarser)
            ),
        ),
    }


def shared_kinds(seed: int, coarser: int) -> Iterator[tuple[str, str, Pictures, int]]:
    """Yield kinds of real pictures: name, headers, pictures, and how many there are.

    Raises:
        FileNotFoundError: the shared data are not there.
    """
    chests = np.load(shared_file("data/pneumoniamnist/train_val.npz"))
    pictures = chests[next(name for name in chests.files if "images" in name)]
    yield (
        "real chest radiographs, 28 x 28",
        "right",
        lambda n: _changed(
            lumbar(seed, n, coarser=coarser), lambda p: _spread(pictures[37 * n % len(pictures)], p)
        ),
        120,
    )
    fruit = _fruit()
    yield (
        "real MR of fruit",
        "right",
        lambda n: _changed(lumbar(seed, n, coarser=coarser), lambda p: _spread(fruit[n], p)),
        len(fruit),
    )


def _fruit() -> list[np.ndarray]:
    found = []
    for path in sorted(shared_file("data/adit_fruit_dicom").rglob("*.dcm")):
        data = pydicom.dcmread(path)
        if data.get("Modality") == "MR" and "PixelData" in data and data.pixel_array.ndim == 2:
            found.append(data.pixel_array)
    return found


def _as(drawn: Drawn, **headers: Any) -> Drawn:
    return replace(drawn, headers={**drawn.headers, **headers})


def _changed(drawn: Drawn, change: Callable[[np.ndarray], np.ndarray]) -> Drawn:
    """Return other pixels in the geometry of the series, with as many rows and columns."""
    pixels = change(drawn.pixels)
    if pixels.shape != drawn.pixels.shape:
        factors = [new / old for new, old in zip(drawn.pixels.shape, pixels.shape, strict=True)]
        pixels = ndimage.zoom(pixels, factors, order=1, grid_mode=True, mode="nearest")
    return replace(drawn, pixels=pixels)


def _axial(drawn: Drawn) -> Drawn:
    return _changed(
        drawn,
        lambda p: np.stack(
            [p[:, r] for r in range(p.shape[1] // 6, p.shape[1] * 5 // 6, p.shape[1] // 7)]
        ),
    )


def _coronal(drawn: Drawn) -> Drawn:
    def cut(pixels: np.ndarray) -> np.ndarray:
        wide = pixels.shape[2]
        columns = range(wide // 4, wide * 5 // 6, wide // 8)
        return np.stack([pixels[:, :, column].T for column in columns])

    return _changed(drawn, cut)


def _lying(drawn: Drawn, orientation: list[int]) -> Drawn:
    normal = np.cross(orientation[:3], orientation[3:])
    positions = [tuple(float(v) for v in normal * 4.0 * i) for i in range(len(drawn.pixels))]
    return replace(drawn, orientation=tuple(map(float, orientation)), positions=positions)


def _turned(drawn: Drawn, axis: int) -> Drawn:
    """Return the pixels as they are, under cosines that say they lie the other way round."""
    signs = [-1.0 if i // 3 == axis else 1.0 for i in range(6)]
    turned = tuple(s * v for s, v in zip(signs, drawn.orientation, strict=True))
    return replace(drawn, orientation=turned)


def _clipped(pixels: np.ndarray) -> np.ndarray:
    return np.minimum(pixels, np.percentile(pixels, 60))


def _magnified(pixels: np.ndarray) -> np.ndarray:
    rows, columns = pixels.shape[1:]
    return pixels[:, 2 * rows // 5 : 3 * rows // 5, 2 * columns // 5 : 3 * columns // 5]


def _noise(pixels: np.ndarray, number: int) -> np.ndarray:
    return np.random.default_rng([3, number]).normal(1000, 200, pixels.shape)


def _spread(picture: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return one picture in every slice, as bright as the series, with a little noise."""
    given = np.asarray(picture, dtype=float)
    scaled = (given - given.min()) / max(np.ptp(given), 1e-6) * float(pixels.max())
    whole = np.repeat(scaled[None], len(pixels), axis=0)
    return whole + np.random.default_rng(4).normal(0, 0.01 * float(pixels.max()), whole.shape)


def _chest(pixels: np.ndarray, number: int) -> np.ndarray:
    return _spread(draw_chest(np.random.default_rng([5, number]))[1], pixels)


def _text(pixels: np.ndarray, number: int) -> np.ndarray:
    rng = np.random.default_rng([6, number])
    sheet = Image.new("L", (pixels.shape[2], pixels.shape[1]), 0)
    pen = ImageDraw.Draw(sheet)
    for line in range(int(rng.integers(4, pixels.shape[1] // 12))):
        words = "".join(rng.choice(list("ABCDEFGHIKLMN 0123456789:."), 18))
        pen.text((4, 4 + 11 * line), words, fill=int(rng.integers(150, 255)))
    return np.repeat(np.asarray(sheet, dtype=float)[None], len(pixels), axis=0)
