"""Series that image each place several times: echoes, times, b-values, stacks, kinds of image.

Which one is read is a choice of the rule; without one, several are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from training.errors import Permanent
from training.images.headers import ImageHeader
from training.images.planes import directions
from training.images.series_rule import Choice

_Value = tuple[float, str]

_NAMES = {
    "stack": "stacks (Stack ID)",
    "time": "times (Temporal Position)",
    "echo": "echo times",
    "b_value": "b-values",
    "type": "kinds of image (Image Type)",
}


def one_of_each_place(
    images: Sequence[ImageHeader], choices: Mapping[str, Choice]
) -> tuple[list[ImageHeader], tuple[str, ...]]:
    """Return the images that are read, and remarks on what was chosen.

    Args:
        images: of one series.
        choices: by dimension; a missing one means "only".

    Raises:
        Permanent: places repeat in a dimension, and nothing says which value is to be read.
    """
    left, remarks = list(images), []
    for dimension, name in _NAMES.items():
        if dimension != "stack" and not _repeat(left):
            break
        groups: dict[_Value, list[ImageHeader]] = {}
        for image in left:
            groups.setdefault(_value(dimension, image), []).append(image)
        if len(groups) < 2:
            continue
        choice = choices.get(dimension, "only")
        if choice == "only":
            raise Permanent(
                f"the series has {len(groups)} {name}, and nothing says which one is read"
            )
        chosen = _chosen(groups, choice)
        left = groups[chosen]
        remarks.append(f"one of {len(groups)} {name} was read: {choice}")
    return left, tuple(remarks)


def _chosen(groups: Mapping[_Value, Sequence[ImageHeader]], choice: Choice) -> _Value:
    if choice == "most":
        return min(groups, key=lambda value: (-len(groups[value]), value))
    return min(groups) if choice == "least" else max(groups)


def _value(dimension: str, image: ImageHeader) -> _Value:
    """Return what tells one image from another, in an order: numbers before texts."""
    if dimension == "echo":
        return image.echo_time or 0.0, ""
    if dimension == "b_value":
        return image.number("DiffusionBValue") or 0.0, ""
    if dimension == "time":
        found = image.number("TemporalPositionIndex", "TemporalPositionIdentifier")
        return found or 0.0, ""
    if dimension == "type":
        return 0.0, "\\".join(image.image_type)
    stack = image.text("StackID")
    return (float(stack), "") if stack.isdecimal() else (float("inf"), stack)


def _repeat(images: Sequence[ImageHeader]) -> bool:
    """Tell whether two images lie at one place; the checks of the stack say what is wrong else."""
    orientation = images[0].numbers("ImageOrientationPatient", 6)
    positions = [image.numbers("ImagePositionPatient", 3) for image in images]
    if orientation is None or None in positions:
        return False
    normal = directions(np.asarray(orientation))[2]
    places = np.sort(np.asarray(positions, float) @ normal)
    return bool((np.diff(places) < 0.01).any())
