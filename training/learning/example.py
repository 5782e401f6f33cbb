"""What a network learns from: one input with targets, of whatever kind the architecture takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class InputKind(StrEnum):
    """What an architecture looks at."""

    IMAGE = "image"  # (1, rows, columns): one grey picture
    VOLUME = "volume"  # (1, slices, rows, columns)
    DISC = "disc"  # (slices, rows, columns): a crop at one level
    BAG = "bag"  # (instances, channels, rows, columns): discs or slices of one report


@dataclass(frozen=True)
class Example:
    """One input and what is known of it.

    Args:
        id: tells study and site; unique in a data set.
        patient_key: salted key of the patient; all examples of a patient share a fold.
        fold: "train", "validation" or "test".
        input: float32, of the shape that the architecture's ``InputKind`` says; the number of
            instances of a bag may differ from bag to bag.
        presence: by observation, the probability that it is there, 0.0 to 1.0 (a hard label is 0.0
            or 1.0); NaN or missing: unknown, and nothing is learned.
        locations: by observation and location, 1.0 said, 0.0 contradicted; missing: not said, and
            nothing is learned.
        severities: by observation, the index of the step of its scale; missing: not said.
        site: of the schema; "whole" for the whole report.
        study: Study Instance UID.
    """

    id: str
    patient_key: str
    fold: str
    input: Array
    presence: Mapping[str, float]
    locations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    severities: Mapping[str, int] = field(default_factory=dict)
    site: str = "whole"
    study: str = ""
