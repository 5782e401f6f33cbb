"""From which side a radiograph was taken, and which way round it lies (PS3.3 C.7.6.1.1.1).

A picture is turned by Patient Orientation, which names where its rows and its columns lead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import Permanent
from training.images.headers import ImageHeader


class View(StrEnum):
    """The projection of a radiograph; FRONTAL where only that much is known."""

    PA = "PA"
    AP = "AP"
    FRONTAL = "FRONTAL"
    LATERAL = "LATERAL"
    OTHER = "OTHER"


@dataclass(frozen=True)
class FoundView:
    """The view of a radiograph, None where nothing tells; ``why`` names the element."""

    view: View | None
    why: str
    hint: bool = False


# CID 4010 (PS3.16) in SNOMED CT and in the codes that came before.
_CODES = {
    "272479007": View.PA,
    "R-40888": View.PA,
    "R-10214": View.PA,
    "399348003": View.AP,
    "R-10206": View.AP,
    "399033003": View.FRONTAL,
    "R-10202": View.FRONTAL,
    "399067008": View.LATERAL,
    "R-102CD": View.LATERAL,
    "399173006": View.LATERAL,
    "R-10236": View.LATERAL,
    "399198007": View.LATERAL,
    "R-10232": View.LATERAL,
}
_POSITIONS = {
    "PA": View.PA,
    "AP": View.AP,
    "LL": View.LATERAL,
    "RL": View.LATERAL,
    "LAT": View.LATERAL,
    "LATERAL": View.LATERAL,
}
_WORDS = (
    ({"pa", "p.a."}, View.PA),
    ({"ap", "a.p."}, View.AP),
    ({"lat", "lateral"}, View.LATERAL),
)
# Where rows and columns lead in a picture as it is shown: rows to the patient's left in a frontal
# view, to the back in a lateral one, columns to the feet.
_CANONICAL = {"frontal": ("L", "F"), "lateral": ("P", "F")}
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


def view_of(image: ImageHeader, hints: bool) -> FoundView:
    """Return the view of a radiograph.

    Args:
        image: its header.
        hints: whether Series Description and Protocol Name may tell where the header does not.
    """
    for item in image.elements.get("ViewCodeSequence", ()):
        code = str(next(iter(item.get("CodeValue", ())), "")).strip()
        if code:
            return FoundView(_CODES.get(code, View.OTHER), "View Code Sequence")
    position = next(iter(image.terms("ViewPosition")), "")
    if position:
        return FoundView(_POSITIONS.get(position, View.OTHER), "View Position")
    if hints:
        text = f"{image.text('SeriesDescription')} {image.text('ProtocolName')}".lower()
        words = set(text.replace("_", " ").replace("-", " ").replace(",", " ").split())
        named = [view for known, view in _WORDS if words & known]
        if len(named) == 1:  # "pa and lat" says nothing of one image
            return FoundView(named[0], "a word of Series Description", hint=True)
    side = _kind(_directions(image))
    if side:
        view = View.FRONTAL if side == "frontal" else View.LATERAL
        return FoundView(view, "Patient Orientation")
    return FoundView(None, "View Position, View Code Sequence and Patient Orientation are silent")


def upright(pixels: NDArray[Any], image: ImageHeader) -> tuple[NDArray[Any], tuple[str, ...], bool]:
    """Turn a radiograph (rows, columns) until its rows lead to the left or back, columns down.

    Returns:
        The picture, what was done ("mirrored", "upside down", "turned"), and whether rows and
        columns changed places.

    Raises:
        Permanent: Patient Orientation does not say which way round the picture lies.
    """
    directions = _directions(image)
    kind = _kind(directions)
    if not kind:
        raise Permanent("Patient Orientation does not say which way round the picture lies")
    row, column = directions
    done: list[str] = []
    turned = row in ("H", "F")
    if turned:
        pixels, row, column = pixels.T, column, row
        done.append("turned")
    if row != _CANONICAL[kind][0]:
        pixels = np.fliplr(pixels)
        done.append("mirrored")
    if column != _CANONICAL[kind][1]:
        pixels = np.flipud(pixels)
        done.append("upside down")
    return np.ascontiguousarray(pixels), tuple(done), turned


def _directions(image: ImageHeader) -> tuple[str, str]:
    """Return the main direction of rows and of columns: the first letter of each value."""
    found = image.terms("PatientOrientation")
    if len(found) != 2:
        return "", ""
    row, column = ("F" if each[:4] == "FOOT" else each[:1] for each in found)
    known = row in _OPPOSITE and column in _OPPOSITE
    return (row, column) if known else ("", "")


def _kind(directions: tuple[str, str]) -> str:
    letters = set(directions)
    if not letters & {"H", "F"}:
        return ""
    if letters & {"L", "R"}:
        return "frontal"
    return "lateral" if letters & {"A", "P"} else ""
