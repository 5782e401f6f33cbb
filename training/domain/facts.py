"""What the headers of a series say of how it was taken, in few terms and figures.

No text of a file is kept: a term that is not among the known ones stands there as a digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.errors import Permanent
from training.images.body_parts import body_part
from training.images.contrast import contrast_of
from training.images.headers import ImageHeader
from training.images.planes import directions, plane_of
from training.images.views import View, view_of

TERMS = {
    "modality": "Modality",
    "body_part": "the body part",
    "plane": "the plane",
    "directions": "the direction in which rows and columns lead",
    "contrast": "the contrast",
    "view": "the view",
}
"""Terms by key, as sentences name them."""

FIGURES = {
    "field_height": "the height of the field of view",
    "field_width": "the width of the field of view",
    "slice_distance": "the distance between slices",
    "echo_time": "Echo Time",
    "repetition_time": "Repetition Time",
    "inversion_time": "Inversion Time",
    "images": "the number of images",
}
"""Figures by key, as sentences name them; lengths in mm, times in ms."""

LOOKED_AT = 3
"""Images of a series whose headers are judged: the first, the middle one and the last."""

_MODALITIES = frozenset(
    (
        "CR",
        "CT",
        "DX",
        "IO",
        "MG",
        "MR",
        "NM",
        "OP",
        "OT",
        "PT",
        "PX",
        "RF",
        "RG",
        "SC",
        "US",
        "XA",
        "XC",
    )
)
_PARTS = frozenset(
    (
        "ABDOMEN", "ANKLE", "ARM", "BACK", "BRAIN", "BREAST", "CALCANEUS", "CHEST", "CLAVICLE",
        "COCCYX", "CSPINE", "CTSPINE", "ELBOW", "EXTREMITY", "FACE", "FINGER", "FOOT", "FOREARM",
        "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LLSPINE", "LSPINE", "LSSPINE",
        "LUMBAR", "NECK", "ORBIT", "PELVIS", "RIB", "SACRUM", "SCAPULA", "SHOULDER", "SKULL",
        "SPINE", "SSPINE", "STERNUM", "TSPINE", "THIGH", "THORAX", "THUMB", "TLSPINE", "TOE",
        "UTERUS", "WHOLEBODY", "WRIST",
    )
)  # fmt: skip
_FRONTAL = frozenset({View.PA, View.AP, View.FRONTAL})


@dataclass(frozen=True)
class Facts:
    """What one image says; a term or figure that it does not state, or malformed, is missing.

    Several values of one term stand joined by a backslash.
    """

    terms: Mapping[str, str]
    figures: Mapping[str, float]


def facts_of(images: Sequence[ImageHeader], count: int) -> tuple[Facts, ...]:
    """Return what the first, the middle and the last image of a series say.

    Args:
        images: of one series, at least one.
        count: how many images the series has.
    """
    at = {round(each) for each in np.linspace(0, len(images) - 1, LOOKED_AT)}
    return tuple(_of_image(images[place], count) for place in sorted(at))


def fits(key: str, term: str, learned: Sequence[str]) -> bool:
    """Tell whether a term is among those learned; a frontal view may be PA or AP.

    Of several values each has to fit.
    """
    if term in learned:
        return True
    if _AND in term:
        return all(fits(key, each, learned) for each in term.split(_AND))
    frontal = {str(each) for each in _FRONTAL}
    asked = {term, *learned} & frontal
    return key == "view" and term in frontal and View.FRONTAL in asked and len(asked) > 1


def in_words(key: str, terms: Sequence[str]) -> str:
    """Return terms for a sentence; those that are kept as digests are not named."""
    named = [each.replace(_AND, " and ") for each in terms if _UNNAMED not in each]
    if key == "directions":
        named = [f"{each[0]} and {each[1]}" for each in named]
    rest = ["another that is not named here"] if len(named) < len(terms) else []
    return " or ".join([*named, *rest])


def _of_image(image: ImageHeader, count: int) -> Facts:
    modality = _several(image.terms("Modality"), _MODALITIES)
    part = _several(image.terms("BodyPartExamined"), _PARTS)
    plane, leading = _lying(image)
    terms = {
        "modality": modality,
        "body_part": part or _known(body_part(image), _PARTS),
        "plane": plane,
        "directions": leading,
        "contrast": (contrast_of(image, hints=False).contrast or "") if modality == "MR" else "",
        "view": view_of(image, hints=False).view or "" if not plane else "",
    }
    figures = {**_sizes(image), "images": float(count)}
    return Facts(
        {key: str(each) for key, each in terms.items() if each},
        {key: each for key, each in figures.items() if each is not None and each > 0},
    )


_UNNAMED = "sha256:"


_AND = "\\"  # as DICOM joins values


def _several(values: Sequence[str], known: frozenset[str]) -> str:
    """Return the values that are not empty, each once, in one term."""
    return _AND.join(sorted({_known(each, known) for each in values if each}))


def _known(term: str, known: frozenset[str]) -> str:
    if not term or term in known:
        return term
    return _UNNAMED + hashlib.sha256(term.encode()).hexdigest()[:16]


def _lying(image: ImageHeader) -> tuple[str, str]:
    """Return the plane, and the letters in whose direction rows and columns lead, or ""."""
    try:
        found = image.numbers("ImageOrientationPatient", 6)
        if found is not None:
            row, column, _ = directions(np.asarray(found))
            return plane_of(np.asarray(found))[0], _letter(row) + _letter(column)
    except Permanent:  # what is malformed says nothing; reading the pixels refuses it
        return "", ""
    letters = [
        "F" if each.startswith("FOOT") else each[:1] for each in image.terms("PatientOrientation")
    ]
    whole = len(letters) == 2 and all(each and each in "LRAPHF" for each in letters)
    return "", "".join(letters) if whole else ""


def _letter(direction: np.ndarray) -> str:
    """Return where a direction mostly leads: x to the left, y to the back, z to the head."""
    axis = int(np.abs(direction).argmax())
    return ("LPH" if direction[axis] > 0 else "RAF")[axis]


def _sizes(image: ImageHeader) -> dict[str, float | None]:
    try:
        spacing = image.pixel_spacing or image.numbers("ImagerPixelSpacing", 2)
    except Permanent:
        spacing = None
    rows, columns = image.number("Rows"), image.number("Columns")
    return {
        "field_height": rows * spacing[0] if rows and spacing else None,
        "field_width": columns * spacing[1] if columns and spacing else None,
        "slice_distance": _length(image, "SpacingBetweenSlices")
        or _length(image, "SliceThickness"),
        "echo_time": image.echo_time,
        "repetition_time": image.number("RepetitionTime"),
        "inversion_time": image.inversion_time,
    }


def _length(image: ImageHeader, keyword: str) -> float | None:
    found = image.number(keyword)
    return found if found is not None and found > 0 else None
