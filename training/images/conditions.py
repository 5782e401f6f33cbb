"""What a rule asks of each single image, in order; each answer is a reason in words, or nothing.

A reason names elements, figures and the rule's own words, never a text of the image: descriptions
may hold a name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dicom_node.studies import is_image
from training.errors import Permanent
from training.images.body_parts import body_part
from training.images.contrast import contrast_of, has_agent
from training.images.headers import ImageHeader
from training.images.planes import plane_of
from training.images.series_rule import ImageSeriesRule
from training.images.views import View, view_of

Condition = Callable[[ImageSeriesRule, ImageHeader], str]

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_LOCALIZERS = frozenset(("LOCALIZER", "SCOUT", "SURVEY", "SCANOGRAM", "TOPOGRAM"))
# Third and later values of Image Type that say an image was computed, whatever the first says.
_COMPUTED = frozenset(
    (
        "MPR", "CPR", "MIP", "MINIP", "AIP", "PROJECTION IMAGE", "MPR THICK", "REFORMATTED",
        "RESAMPLED", "CSA MPR", "CSA RESAMPLED", "SUBTRACTION", "SUB", "SUBTRACTED", "ADDITION",
        "DIVISION", "MAXIMUM", "MINIMUM", "MEAN", "STDDEV", "STD_DEVIATION", "ADC", "EADC",
        "ADC_UNSPECIFIED", "FA", "TRACEW", "TTP", "CBF", "CBV", "MTT", "PHASE MAP", "PHASE", "P",
        "T1 MAP", "T2 MAP", "POST_PROCESSED", "SCREEN", "CAPTURE", "SCREENSHOT",
    )
)  # fmt: skip


def not_an_image(_rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Documents, presentation states and measurements, whatever Modality says."""
    if not is_image(image.text("SOPClassUID")):
        return "not images of the patient: a document, a presentation state or a measurement"
    return ""


def wrong_modality(rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Modality (0008,0060)."""
    if image.text("Modality").upper() not in rule.modalities:
        return f"Modality is not {' or '.join(rule.modalities)}"
    return ""


def captured(rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Secondary captures and screen saves (PS3.3 A.8, C.8.6.1, C.7.6.1.1.2)."""
    if image.text("SOPClassUID").startswith(_SECONDARY_CAPTURE) or image.text("ConversionType"):
        return "a secondary capture or screen save"
    if not rule.secondary and image.image_type[1:2] == ("SECONDARY",):
        return "Image Type says SECONDARY: made after the examination"
    return ""


def localizer(_rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Localizers, by Image Type."""
    return "a localizer by its Image Type" if _LOCALIZERS & set(image.image_type) else ""


def derived(rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Reformatted, projected, subtracted, computed images."""
    kinds = set(image.image_type)
    if refused := sorted(rule.excluded_types & kinds):
        return f"Image Type says {refused[0]}, which the rule excludes"
    if rule.derived:
        return ""
    if computed := sorted(_COMPUTED & set(image.image_type[2:])):
        return f"Image Type says {computed[0]}: computed from other images"
    if image.image_type[:1] == ("DERIVED",):
        return "Image Type says DERIVED"
    return ""


def coloured(_rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Samples per Pixel, and frames that say nothing of themselves."""
    if (image.number("SamplesPerPixel") or 1) != 1:
        return "images in colour"
    if image.frame is None and (image.number("NumberOfFrames") or 1) > 1:
        return "several frames that do not say where or when each is (no functional groups)"
    return ""


def other_body_part(rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Body Part Examined, else a word of a description."""
    if not rule.body_parts:
        return ""
    part = body_part(image)
    if part in rule.body_parts:
        return ""
    if part and part not in rule.larger_body_parts:
        return "Body Part Examined is none of the rule's"
    if rule.hints and part_by_word(rule, image):
        return ""
    return (
        "Body Part Examined is a larger part" if part else "Body Part Examined is empty"
    ) + ", and no word of the rule stands in a description"


def part_by_word(rule: ImageSeriesRule, image: ImageHeader) -> bool:
    """Tell whether a description names the rule's body part."""
    texts = [image.text(k) for k in ("SeriesDescription", "ProtocolName", "StudyDescription")]
    together = " ".join(texts).lower()
    return any(word in together for word in rule.body_part_words)


def other_side(rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Laterality."""
    wanted = {"left": ("L",), "right": ("R",), "known": ("L", "R")}.get(rule.laterality)
    if wanted is None or image.laterality in wanted:
        return ""
    if not image.laterality:
        return "Laterality is not stated"
    return f"Laterality is {image.laterality}"


def other_geometry(rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Image Orientation (Patient), or the view of a radiograph."""
    if rule.projection:
        return _other_view(rule, image)
    try:
        orientation = image.numbers("ImageOrientationPatient", 6)
        if orientation is None:
            return "Image Orientation (Patient) is missing"
        plane, oblique = plane_of(np.asarray(orientation))
    except Permanent as error:
        return str(error)
    if rule.geometry == "any":
        return ""
    if plane != rule.geometry:
        return f"the images are {plane}, not {rule.geometry}"
    if oblique > rule.tolerance_degrees:
        return f"the images are {oblique:.0f} degrees off {plane}"
    return ""


def _other_view(rule: ImageSeriesRule, image: ImageHeader) -> str:
    if not rule.views:
        return ""
    found = view_of(image, rule.hints)
    if found.view is None:
        return found.why
    if found.view in rule.views:
        return ""
    named = "another than the rule's" if found.view is View.OTHER else found.view.value
    return f"the view is {named}, by {found.why}"


def other_contrast(rule: ImageSeriesRule, image: ImageHeader) -> str:
    """How an MR image is weighted, its times, and whether an agent was given."""
    if rule.contrast:
        found = contrast_of(image, rule.hints)
        if found.contrast is None:
            return f"the contrast is not known: {found.why}"
        if found.contrast not in rule.contrast:
            return f"the contrast is {found.contrast.value}, by {found.why}"
    for name, value, limits in (
        ("Echo Time", image.echo_time, rule.echo_time),
        ("Repetition Time", image.number("RepetitionTime"), rule.repetition_time),
        ("Inversion Time", image.inversion_time, rule.inversion_time),
    ):
        if limits.minimum is None and limits.maximum is None:
            continue
        if value is None:
            return f"{name} is missing"
        if fault := limits.fault(value):
            return f"{name} in ms: {fault}"
    if rule.contrast_agent == "any":
        return ""
    given = has_agent(image, rule.hints)
    if given != (rule.contrast_agent == "given"):
        return "a contrast agent was given" if given else "no contrast agent is stated"
    return ""


def other_spacing(rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Pixel Spacing."""
    try:
        spacing = image.pixel_spacing
    except Permanent as error:
        return str(error)
    bounded = rule.in_plane.minimum is not None or rule.in_plane.maximum is not None
    if spacing is None:
        needed = rule.reading.spacing_needed or bounded
        return "Pixel Spacing is missing" if needed else ""
    if min(spacing) <= 0:
        return "Pixel Spacing is not positive"
    for value in spacing:
        if fault := rule.in_plane.fault(value):
            return f"Pixel Spacing in mm: {fault}"
    return ""


def other_description(rule: ImageSeriesRule, image: ImageHeader) -> str:
    """Patterns of Series Description and Protocol Name."""
    texts = (image.text("SeriesDescription"), image.text("ProtocolName"))
    for pattern in rule.exclude:
        if any(pattern.search(text) for text in texts):
            return f"the description has {pattern.pattern!r}, which the rule excludes"
    if rule.include and not any(p.search(text) for p in rule.include for text in texts):
        return "the description has no pattern that the rule includes"
    return ""


CONDITIONS: tuple[Condition, ...] = (
    not_an_image,
    wrong_modality,
    captured,
    localizer,
    derived,
    coloured,
    other_body_part,
    other_side,
    other_geometry,
    other_contrast,
    other_spacing,
    other_description,
)
"""In the order in which they are asked; the first that fails is the reason."""


def first_fault(rule: ImageSeriesRule, image: ImageHeader) -> tuple[int, str]:
    """Return which condition fails first, counted from 0, and why; their number and "" if none."""
    for number, condition in enumerate(CONDITIONS):
        if reason := condition(rule, image):
            return number, reason
    return len(CONDITIONS), ""
