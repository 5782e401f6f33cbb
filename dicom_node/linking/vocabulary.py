"""Modalities and body parts in the words of images and of reports, as far as they can be compared.

Only what stands in these tables can contradict anything: a word that they do not know, such as the
name of a department, says nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

_FAMILIES = (
    "BMD",
    "CR DX RG",
    "CT",
    "ES",
    "IO PX",
    "MG",
    "MR",
    "NM PT",
    "OCT OP OPT",
    "RF XA",
    "SM",
    "US IVUS",
    "XC",
)
"""Modalities of images (PS3.3 C.7.3.1.1.1). Those of one line stand for each other: departments
write CR for DX, and NM for PT."""

FAMILY_OF: dict[str, str] = {name: line for line in _FAMILIES for name in line.split()}

_REGIONS = {
    "head": "HEAD BRAIN SKULL FACE ORBIT ORBITS EYE SINUS SINUSES JAW MANDIBLE MAXILLA EAR IAC "
    "PITUITARY TMJ TEMPORAL",
    "neck": "NECK THYROID LARYNX PHARYNX CAROTID CSPINE CERVICAL CTSPINE HEADNECK",
    "chest": "CHEST THORAX LUNG LUNGS HEART CARDIAC CORONARY RIB RIBS STERNUM MEDIASTINUM TSPINE "
    "THORACIC CTSPINE TLSPINE BREAST CLAVICLE",
    "abdomen": "ABDOMEN LIVER KIDNEY KIDNEYS PANCREAS SPLEEN STOMACH BOWEL COLON GALLBLADDER "
    "TLSPINE LSPINE LUMBAR LSSPINE ABDOMENPELVIS RETROPERITONEUM",
    "pelvis": "PELVIS HIP HIPS BLADDER PROSTATE UTERUS SACRUM COCCYX SACRAL SSPINE LSSPINE "
    "LUMBOSACRAL ABDOMENPELVIS RECTUM LSPINE LUMBAR",
    "arm": "ARM SHOULDER HUMERUS ELBOW FOREARM WRIST HAND FINGER THUMB RADIUS ULNA SCAPULA "
    "CLAVICLE UPPEREXTREMITY",
    "leg": "LEG FEMUR KNEE TIBIA FIBULA ANKLE FOOT TOE CALCANEUS THIGH CALF PATELLA "
    "LOWEREXTREMITY HIP HIPS",
}
"""Regions of the body by Body Part Examined (PS3.16 Annex L) and common words; what overlaps stands
in both."""

_ALL_OF = {
    "WHOLEBODY": frozenset(_REGIONS),
    "BODY": frozenset(_REGIONS),
    "SPINE": frozenset({"neck", "chest", "abdomen", "pelvis"}),
    "EXTREMITY": frozenset({"arm", "leg"}),
    "TRUNK": frozenset({"chest", "abdomen", "pelvis"}),
}

REGIONS_OF: dict[str, frozenset[str]] = {
    word: frozenset(region for region, words in _REGIONS.items() if word in words.split())
    for words in _REGIONS.values()
    for word in words.split()
} | _ALL_OF

_WORD = re.compile(r"[A-Z]+")
_LONGEST = 256  # characters


@lru_cache(maxsize=4096)
def family(modality: str) -> str:
    """Return the family of a modality of images, or an empty text."""
    return FAMILY_OF.get(modality.strip().upper(), "")


@lru_cache(maxsize=4096)
def regions(body_part: str) -> frozenset[str]:
    """Return the regions that a body part lies in; empty where no word of it is known."""
    words = _WORD.findall(body_part[:_LONGEST].upper())
    joined = "".join(words)
    if joined in REGIONS_OF:
        return REGIONS_OF[joined]
    if "SPINE" in words and len(words) > 1:
        words.remove("SPINE")  # CERVICAL SPINE, L SPINE: the other word tells which
        words = [f"{word}SPINE" if f"{word}SPINE" in REGIONS_OF else word for word in words]
    return frozenset(region for word in words for region in REGIONS_OF.get(word, ()))
