"""Which contrast an MR image has, from how it was acquired (PS3.3 C.8.3.1, C.8.13.3).

The ranges are the usual ones of spin echo in textbooks; between them an image has no name, and a
description may only help where the times are silent, and is called a hint then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from training.images.headers import ImageHeader


class Contrast(StrEnum):
    """What an MR image is weighted by."""

    T1 = "t1"
    T2 = "t2"
    PD = "pd"
    STIR = "stir"
    FLAIR = "flair"
    T2_STAR = "t2_star"
    DIFFUSION = "diffusion"


@dataclass(frozen=True)
class FoundContrast:
    """The contrast of an image, None where nothing tells; ``why`` says by what it was found."""

    contrast: Contrast | None
    why: str
    hint: bool = False


_SHORT_ECHO, _INTERMEDIATE_ECHO, _LONG_ECHO = 30.0, 50.0, 60.0  # ms
_SHORT_REPETITION, _LONG_REPETITION = 1200.0, 1500.0  # ms; a T1 at 3 T comes near to 1000
_STIR_TIMES = (80.0, 300.0)  # ms: fat at 0.2 to 3 T
_FLAIR_TIME = 1500.0  # ms, from here on: water
_LONG_GRADIENT_ECHO = 12.0  # ms

# Acquisition Contrast (PS3.3 C.8.13.3.1.1) as enhanced images declare it.
_DECLARED = {
    "T1": Contrast.T1,
    "T2": Contrast.T2,
    "PROTON_DENSITY": Contrast.PD,
    "STIR": Contrast.STIR,
    "FLUID_ATTENUATED": Contrast.FLAIR,
    "T2_STAR": Contrast.T2_STAR,
    "DIFFUSION": Contrast.DIFFUSION,
}
_WORDS = (
    (Contrast.STIR, re.compile(r"stir|tirm")),
    (Contrast.FLAIR, re.compile(r"flair|dark.?fl")),
    (Contrast.DIFFUSION, re.compile(r"dwi|diff|adc")),
    (Contrast.T2_STAR, re.compile(r"t2[ _]?(\*|star)|hemo|swi")),
    (Contrast.T2, re.compile(r"(?<![a-z0-9])t2")),
    (Contrast.T1, re.compile(r"(?<![a-z0-9])t1|mprage")),
    (Contrast.PD, re.compile(r"(?<![a-z0-9])pd|proton")),
)
_AGENT_WORDS = re.compile(r"(?<![a-z0-9])(\+? ?(gd|km|gad[a-z]*|post|c\+|ce)|\+c)(?![a-z])")
_NO_AGENT = ("NONE", "NO", "N")


def contrast_of(image: ImageHeader, hints: bool) -> FoundContrast:
    """Return the contrast of an MR image.

    Args:
        image: its header.
        hints: whether Series Description may tell where the header does not.
    """
    declared = _DECLARED.get(next(iter(image.terms("AcquisitionContrast")), ""))
    if declared:
        return FoundContrast(declared, "Acquisition Contrast")
    found = _acquired(image)
    if found.contrast is not None or not hints:
        return found
    words = image.text("SeriesDescription").lower()
    for contrast, pattern in _WORDS:
        if pattern.search(words):
            return FoundContrast(contrast, "a word of Series Description", hint=True)
    return found


def has_agent(image: ImageHeader, hints: bool) -> bool:
    """Tell whether a contrast agent was given (PS3.3 C.7.6.4)."""
    named = image.terms("ContrastBolusAgent")
    if (named and named[0] not in _NO_AGENT) or image.elements.get("ContrastBolusAgentSequence"):
        return True
    return hints and bool(_AGENT_WORDS.search(image.text("SeriesDescription").lower()))


def _acquired(image: ImageHeader) -> FoundContrast:
    name = image.text("SequenceName", "PulseSequenceName").lower()
    techniques = image.terms("ScanningSequence", "EchoPulseSequence")
    if image.number("DiffusionBValue") is not None or "ep_b" in name:
        return FoundContrast(Contrast.DIFFUSION, "a diffusion b-value or sequence")
    gradient = "GR" in techniques or techniques[:1] == ("GRADIENT",)
    inversion = "IR" in techniques or image.terms("InversionRecovery") == ("YES",) or "tir" in name
    if gradient:
        return _of_gradient_echo(image, inversion)
    if inversion:
        return _of_inversion_recovery(image)
    return _of_spin_echo(image)


def _of_gradient_echo(image: ImageHeader, prepared: bool) -> FoundContrast:
    echo = image.echo_time
    if echo is None:
        return FoundContrast(None, "a gradient echo without Echo Time")
    if echo >= _LONG_GRADIENT_ECHO:
        return FoundContrast(Contrast.T2_STAR, f"a gradient echo at {echo:g} ms")
    if prepared or "SP" in image.terms("SequenceVariant") or "MP" in image.terms("SequenceVariant"):
        return FoundContrast(Contrast.T1, f"a spoiled or prepared gradient echo at {echo:g} ms")
    return FoundContrast(None, "a gradient echo of mixed contrast")


def _of_inversion_recovery(image: ImageHeader) -> FoundContrast:
    inversion, echo = image.inversion_time, image.echo_time
    if not inversion:
        return FoundContrast(None, "an inversion recovery without Inversion Time")
    why = f"an inversion time of {inversion:g} ms"
    if _STIR_TIMES[0] <= inversion <= _STIR_TIMES[1]:
        return FoundContrast(Contrast.STIR, why)
    if inversion >= _FLAIR_TIME and echo is not None and echo >= _LONG_ECHO:
        return FoundContrast(Contrast.FLAIR, why)
    if echo is not None and echo <= _SHORT_ECHO:
        return FoundContrast(Contrast.T1, f"{why} and an echo time of {echo:g} ms")
    return FoundContrast(None, f"{why}, which has no name")


def _of_spin_echo(image: ImageHeader) -> FoundContrast:
    echo, repetition = image.echo_time, image.number("RepetitionTime")
    if not echo or not repetition:
        return FoundContrast(None, "Echo Time or Repetition Time is missing")
    why = f"an echo time of {echo:g} ms and a repetition time of {repetition:g} ms"
    if echo <= _SHORT_ECHO and repetition <= _SHORT_REPETITION:
        return FoundContrast(Contrast.T1, why)
    if echo <= _INTERMEDIATE_ECHO and repetition >= _LONG_REPETITION:
        return FoundContrast(Contrast.PD, why)
    if echo >= _LONG_ECHO and repetition >= _LONG_REPETITION:
        return FoundContrast(Contrast.T2, why)
    return FoundContrast(None, f"{why}, which have no name")
