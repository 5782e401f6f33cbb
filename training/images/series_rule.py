"""A rule that says which images of a study a model looks at, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from labeling.errors import Permanent as LabelingPermanent
from training.errors import Permanent
from training.images.contrast import Contrast
from training.images.views import View
from training.images.windows import AS_STORED

Geometry = Literal["sagittal", "axial", "coronal", "any", "projection"]
Agent = Literal["any", "given", "none"]
Laterality = Literal["any", "left", "right", "known"]
Preference = Literal["most_slices", "thinnest", "finest", "view_order", "newest", "oldest"]
Choice = Literal["only", "least", "greatest", "most"]
Mirror = Literal["none", "to_left", "to_right"]

DIMENSIONS = ("stack", "time", "echo", "b_value", "type")
"""What may repeat the places of a stack: StackID, temporal position, Echo Time, b-value, type."""


class InvalidSeriesRule(Permanent, LabelingPermanent):
    """A rule for series cannot be used; the message says in which line and at which key.

    Also an error of labeling, whose strict YAML reader raises it.
    """


@dataclass(frozen=True)
class Limits:
    """Bounds of a number, both inclusive; None: no bound."""

    minimum: float | None = None
    maximum: float | None = None

    def fault(self, value: float) -> str:
        """Return in words how a value lies outside, or ""."""
        if self.minimum is not None and value < self.minimum:
            return f"{value:g} is below {self.minimum:g}"
        if self.maximum is not None and value > self.maximum:
            return f"{value:g} is above {self.maximum:g}"
        return ""


@dataclass(frozen=True)
class Reading:
    """How the images that a rule picks become arrays.

    Attributes:
        window: "none": values in the units of the modality; "declared": the window or table of the
            file; or a name of :data:`training.images.windows.CT_WINDOWS`.
        index: which one, where a file declares several windows, counted from 0.
        upright: turn a radiograph by its Patient Orientation; one that does not say is refused.
        mirror: "to_left" shows a right side as if it were a left one, "to_right" the other way.
        spacing_needed: an image without Pixel Spacing is refused.
        choose: of each dimension that repeats the places of a stack, which one is read: "only"
            (more than one is refused), "least", "greatest", or the one with the "most" images.
    """

    window: str = AS_STORED
    index: int = 0
    upright: bool = False
    mirror: Mirror = "none"
    spacing_needed: bool = True
    choose: Mapping[str, Choice] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSeriesRule:
    """Which images fit; see ``deploy/images.md`` for what each key means.

    Attributes:
        body_parts: of Body Part Examined, in capitals; none: any.
        larger_body_parts: what that may say where a description has to tell more, in capitals.
        body_part_words: words of descriptions that stand for the part where Body Part Examined is
            empty or a larger part.
        views: accepted, the better first.
        include, exclude: patterns of Series Description or Protocol Name, without case.
        excluded_types: values of Image Type that no image may have, in capitals.
        hints: whether descriptions may tell what the header does not.
        prefer: which of several series that fit is taken; ties go by Series Instance UID.
        digest: SHA-256 of the file.
    """

    name: str
    title: str
    modalities: tuple[str, ...]
    geometry: Geometry
    digest: str
    body_parts: frozenset[str] = frozenset()
    larger_body_parts: frozenset[str] = frozenset()
    body_part_words: tuple[str, ...] = ()
    tolerance_degrees: float = 30.0
    contrast: tuple[Contrast, ...] = ()
    contrast_agent: Agent = "any"
    echo_time: Limits = Limits()
    repetition_time: Limits = Limits()
    inversion_time: Limits = Limits()
    views: tuple[View, ...] = ()
    laterality: Laterality = "any"
    slices: Limits = Limits()
    in_plane: Limits = Limits()
    between_slices: Limits = Limits()
    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()
    derived: bool = False
    secondary: bool = False
    excluded_types: frozenset[str] = frozenset()
    hints: bool = False
    prefer: tuple[Preference, ...] = ("most_slices",)
    reading: Reading = Reading()

    @property
    def projection(self) -> bool:
        """Whether images stand for themselves, as radiographs do, and make no stack."""
        return self.geometry == "projection"
