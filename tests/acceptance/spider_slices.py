"""SPIDER's mid-sagittal slices with an estimate of their spacing, and where their discs are known.

Spacing. The pictures were turned and resampled by others: rows and columns of many differ in mm,
which overview.csv does not tell. A sagittal field of view is nearly always square, so both sides of
a picture are taken to span the recorded spacing times a usual matrix; series acquired in 3-D keep
square pixels. It is an estimate: lengths in mm on these slices may be wrong by a tenth.

Places. The disc crops were cut out of the same pictures with a frame around each segmented disc.
Finding each crop in its picture again (normalised cross-correlation, nearly 1) gives the frames,
and disc_labels.csv names their levels where that is sure. A T1 slice of the same matrix borrows the
places of its patient's T2 slice, so that movement between the two counts as error. Some pictures
are stored upside down: their crops match only when they are flipped.
"""

from __future__ import annotations

import ast
import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve

from tests.shared_data import shared_file

Floats = NDArray[np.floating]
Row = Mapping[str, str]

_LEVEL_OF_LABEL = {"1": "L5-S1", "2": "L4-L5", "3": "L3-L4", "4": "L2-L3", "5": "L1-L2"}
_MATRICES = (320, 352, 384, 448, 512, 576, 640, 736, 768)
_LONG_SIDE = 512  # pixels; larger pictures were shrunk to it
_USUAL_FIELD = 290.0  # mm
_LEAST_MATCH = 0.9
_SCALES = np.arange(0.36, 0.99, 0.03)  # by which a picture may have been shrunk after its crops


@dataclass(frozen=True)
class SpiderSlice:
    """A real slice; ``places`` has row and column in pixels by level, empty where unknown.

    ``array`` is (rows, columns), ``spacing`` mm between rows and between columns (an estimate),
    ``upside_down`` is true where the crops prove that the picture is stored so.
    """

    name: str
    patient: str
    contrast: str
    array: NDArray[np.float32]
    spacing: tuple[float, float]
    places: Mapping[str, tuple[float, float]]
    upside_down: bool


def develops(patient: str) -> bool:
    """Tell whether a patient is of the half that the localiser was developed on."""
    return hashlib.sha256(patient.encode("ascii")).digest()[0] % 2 == 0


def spider_slices(*, development: bool, limit: int | None = None) -> Iterator[SpiderSlice]:
    """Yield every slice of one half of the patients; ``limit`` counts patients.

    Raises:
        FileNotFoundError: the shared data is not there.
    """
    folder = shared_file("data/spider_lumbar_png")
    crops: dict[str, list[Row]] = {}
    for row in _rows(folder / "disc_labels.csv"):
        crops.setdefault(f"{row['Patient']}_{row['series']}", []).append(row)
    by_patient: dict[str, list[Row]] = {}
    for row in _rows(folder / "overview.csv"):
        name = row["new_file_name"]
        if row["subset"] == "training" and (folder / "images" / f"{name}.png").is_file():
            by_patient.setdefault(name.partition("_")[0], []).append(row)
    patients = [p for p in sorted(by_patient, key=int) if develops(p) == development]
    for patient in patients[:limit]:
        yield from _slices(folder, patient, by_patient[patient], crops)


def _rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _slices(
    folder: Path, patient: str, rows: Sequence[Row], crops: Mapping[str, Sequence[Row]]
) -> Iterator[SpiderSlice]:
    arrays = {
        r["new_file_name"]: _grey(folder / "images" / f"{r['new_file_name']}.png") for r in rows
    }
    found = {n: _find_crops(a, folder, crops[n]) for n, a in arrays.items() if n in crops}
    for row in rows:
        name = row["new_file_name"]
        array = arrays[name]
        source = name if name in found else f"{patient}_t2"
        lent = source in found and arrays[source].shape == array.shape
        places, upside_down = found[source] if lent else ({}, False)
        yield SpiderSlice(
            name=name,
            patient=patient,
            contrast="T2" if "_t2" in name else "T1",
            array=array,
            spacing=field_spacing(row["PixelSpacing"], *array.shape, square="SPACE" not in name),
            places=places,
            upside_down=upside_down,
        )


def field_spacing(
    recorded: str, rows: int, columns: int, *, square: bool = True
) -> tuple[float, float]:
    """Return the estimated spacing in mm of a turned and perhaps shrunk picture; see the module.

    Args:
        recorded: "[between rows, between columns]" of the series as it was acquired.
        rows: of the picture.
        columns: of the picture.
        square: whether the field of view was square, and not the pixels.
    """
    between = float(ast.literal_eval(recorded)[0])
    if max(rows, columns) < _LONG_SIDE:
        usual = [n for n in (rows, columns) if n in _MATRICES]
        field = (usual[0] if usual else _usual_matrix(between)) * between
    else:
        field = _usual_matrix(between) * between
    if not square:
        return field / max(rows, columns), field / max(rows, columns)
    return field / rows, field / columns


def _usual_matrix(between: float) -> int:
    return min(_MATRICES, key=lambda n: abs(n * between - _USUAL_FIELD))


def _grey(path: Path) -> NDArray[np.float32]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=np.float32)


def _find_crops(
    picture: NDArray[np.float32], folder: Path, rows: Sequence[Row]
) -> tuple[dict[str, tuple[float, float]], bool]:
    """Return the centre of each named disc, and whether the picture is upside down.

    Nothing is returned for pictures in which not every crop is found again.
    """
    crops = [_grey(folder / "disc_crops" / row["file"]) for row in rows]
    largest = max(crops, key=lambda c: c.size)
    shrunk = max(picture.shape) == _LONG_SIDE
    for upside_down in (False, True):
        search = _Matcher(picture[::-1] if upside_down else picture)
        scale = 1.0
        if shrunk and search(largest, 1.0)[0] < _LEAST_MATCH:
            scale = max(_SCALES, key=lambda s: search(largest, s)[0])
            fine = np.arange(scale - 0.03, scale + 0.035, 0.01)
            scale = float(max(fine, key=lambda s: search(largest, s)[0]))
        if search(largest, scale)[0] < _LEAST_MATCH:
            continue
        matches = [search(crop, scale) for crop in crops]
        if min(m[0] for m in matches) < _LEAST_MATCH:
            break
        places = {
            _LEVEL_OF_LABEL[row["IVD label"]]: (m[1], m[2])
            for row, m in zip(rows, matches, strict=True)
            if row["mapping_sure"] == "1" and row["IVD label"] in _LEVEL_OF_LABEL
        }
        return ({} if upside_down else places), upside_down
    return {}, False


class _Matcher:
    """Finds templates in one picture by normalised cross-correlation."""

    def __init__(self, picture: NDArray[np.float32]) -> None:
        self._picture = picture.astype(float)

    def __call__(self, crop: NDArray[np.float32], scale: float) -> tuple[float, float, float]:
        """Return the best correlation and the row and column of the template's centre."""
        rows, columns = (max(round(n * scale), 4) for n in crop.shape)
        image = Image.fromarray(crop)
        if scale != 1.0:
            image = image.resize((columns, rows), Image.Resampling.LANCZOS)
        template = np.asarray(image, float)
        template = template - template.mean()
        length = float(np.sqrt((template**2).sum()))
        if length == 0:
            return 0.0, 0.0, 0.0
        product = fftconvolve(self._picture, template[::-1, ::-1], "same")
        # An even template's centre lies between pixels: both filters put it at the same one.
        mean = uniform_filter(self._picture, template.shape, mode="constant")
        square = uniform_filter(self._picture**2, template.shape, mode="constant")
        spread = np.sqrt(np.clip((square - mean**2) * template.size, 1.0, None))
        matched = product / spread / length
        row, column = np.unravel_index(int(matched.argmax()), matched.shape)
        return float(matched[row, column]), float(row), float(column)
