"""Body parts by code, as enhanced images name them, in the terms of Body Part Examined.

PS3.16 Annex L, table L-1: the parts that the schemas and rules which ship are about.
"""

from __future__ import annotations

from training.images.headers import ImageHeader

_TERMS = {
    "122496007": "LSPINE",
    "122494005": "CSPINE",
    "122495006": "TSPINE",
    "421060004": "SPINE",
    "816094009": "CHEST",
    "69536005": "HEAD",
    "12738006": "BRAIN",
    "89546000": "SKULL",
    "16982005": "SHOULDER",
    "51299004": "CLAVICLE",
    "79601000": "SCAPULA",
    "85050009": "HUMERUS",
    "16953009": "ELBOW",
    "14975008": "FOREARM",
    "62413002": "RADIUS",
    "23416004": "ULNA",
    "74670003": "WRIST",
    "85562004": "HAND",
    "7569003": "FINGER",
    "76505004": "THUMB",
    "72696002": "KNEE",
    "818981001": "ABDOMEN",
    "816092008": "PELVIS",
}


def body_part(image: ImageHeader) -> str:
    """Return Body Part Examined in capitals, else the term of Anatomic Region Sequence, else ""."""
    part = image.text("BodyPartExamined").upper()
    if part:
        return part
    for item in image.elements.get("AnatomicRegionSequence", ()):
        code = str(next(iter(item.get("CodeValue", ())), "")).strip()
        if code:
            return _TERMS.get(code, "ANOTHER PART")
    return ""
