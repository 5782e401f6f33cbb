"""Which images may show who the patient is: they are left out, never painted over.

What the header says decides; nobody looks at the pixels. Kinds of images on which text is usual are
left out whatever they say; where text is possible, an image must say that there is none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from training.exports.options import ACCEPT_FACES, ACCEPT_UNSTATED

KEYWORDS = (
    "SOPClassUID",
    "Modality",
    "ImageType",
    "ConversionType",
    "BurnedInAnnotation",
    "RecognizableVisualFeatures",
    "BodyPartExamined",
    "SamplesPerPixel",
)
"""Elements that :func:`identifying_pixels` asks for."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SECONDARY_CAPTURE = f"{_STORAGE}7"
_ULTRASOUND = (f"{_STORAGE}3", f"{_STORAGE}6")
# Modalities (PS3.3 C.7.3.1.1.1) whose primary images come from a reconstruction, without text.
_RECONSTRUCTED = frozenset({"CT", "MR", "NM", "PT"})
_ULTRASOUND_MODALITIES = frozenset({"US", "IVUS", "BDUS"})
_HEADS = frozenset(
    {"BRAIN", "FACE", "HEAD", "HEADNECK", "IAC", "JAW", "MANDIBLE", "MAXILLA", "NOSE", "ORBIT",
     "PITUITARY", "SINUS", "SKULL", "TMJ", "WHOLEBODY", "NECK", "CSPINE", "CERVICALSPINE",
     "CAROTID", "EAR", "EYE", "FACIALBONE", "HEADANDNECK", "NASOPHARYNX", "PAROTID", "TONGUE",
     "ZYGOMA"}
)  # fmt: skip

Elements = Mapping[str, Sequence[str]]

FACE = "a face may be recognised: the head, or a part of the body that the image does not state"


def identifying_pixels(image: Elements, accepted: Collection[str] = ()) -> str:
    """Return why an image may show who the patient is; empty where it may be exported.

    Args:
        image: values of ``KEYWORDS`` as text.
        accepted: of ``training.exports.options.ACCEPTANCES``.
    """
    stated = _first(image, "BurnedInAnnotation")
    if reason := _usual_text(image, stated):
        return reason
    if stated != "NO" and ACCEPT_UNSTATED not in accepted and _possible_text(image):
        return "the image does not say whether text is burned in, and may hold some"
    if ACCEPT_FACES not in accepted and _may_show_face(image):
        return FACE
    return ""


def _usual_text(image: Elements, stated: str) -> str:
    sop_class, modality = _first(image, "SOPClassUID"), _first(image, "Modality")
    types = _values(image, "ImageType")
    reasons = (
        (stated == "YES", "text is burned into the image"),
        (_is_of(sop_class, _SECONDARY_CAPTURE), "a secondary capture"),
        (bool(_values(image, "ConversionType")), "converted from a film, a document or a screen"),
        (any(_is_of(sop_class, each) for each in _ULTRASOUND), "an ultrasound image"),
        (modality in _ULTRASOUND_MODALITIES, "an ultrasound image"),
        (any("SCREEN" in each for each in types), "a picture of a screen"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _possible_text(image: Elements) -> bool:
    """Tell whether text is possible: a projection, a secondary image, colour, other modalities."""
    types = _values(image, "ImageType")
    secondary = "SECONDARY" in types[1:2] or len(types) < 2
    coloured = _first(image, "SamplesPerPixel") not in ("", "1")
    return _first(image, "Modality") not in _RECONSTRUCTED or secondary or coloured


def _may_show_face(image: Elements) -> bool:
    part = "".join(each for each in _first(image, "BodyPartExamined") if each.isalpha())
    stated = _first(image, "RecognizableVisualFeatures")
    # Volumes from which a face can be drawn; what they show is often left unstated.
    unstated = not part and _first(image, "Modality") in {"CT", "MR", "PT"} and stated != "NO"
    return stated == "YES" or part in _HEADS or unstated


def _is_of(sop_class: str, family: str) -> bool:
    return sop_class == family or sop_class.startswith(f"{family}.")


def _values(image: Elements, keyword: str) -> list[str]:
    return [each.strip().upper() for each in image.get(keyword, ()) if each.strip()]


def _first(image: Elements, keyword: str) -> str:
    return next(iter(_values(image, keyword)), "")
