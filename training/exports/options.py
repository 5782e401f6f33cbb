"""What is exported, how it is de-identified, and which doubts a person accepted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dicom_node.deidentification.profile import BASIC_CODE, CODES, EDITION, Option
from training.errors import Permanent

FORMATS = ("parquet", "datalist", "nifti", "dicom")
IMAGE_FORMATS = frozenset({"nifti", "dicom"})
ACCEPT_UNSTATED = "accept-unstated-annotation"
ACCEPT_FACES = "accept-faces"
ACCEPTANCES = (ACCEPT_UNSTATED, ACCEPT_FACES)


@dataclass(frozen=True)
class ExportOptions:
    """The choices that make an export, each in a fixed order.

    Args:
        formats: of ``FORMATS``.
        options: of the confidentiality profile.
        accepted: of ``ACCEPTANCES``.
    """

    formats: tuple[str, ...]
    options: tuple[Option, ...] = ()
    accepted: tuple[str, ...] = ()

    @property
    def holds_images(self) -> bool:
        """Whether pixels leave the archive."""
        return not IMAGE_FORMATS.isdisjoint(self.formats)

    def to_record(self) -> dict[str, Any]:
        """Return the choices as a dict for JSON."""
        return {
            "formats": list(self.formats),
            "options": [str(each) for each in self.options],
            "accepted": list(self.accepted),
        }


def parse_options(formats: Iterable[str], options: Iterable[str]) -> ExportOptions:
    """Return the choices that these names stand for.

    Raises:
        Permanent: a name is unknown, nothing is to be exported, or a datalist would name no images.
    """
    wanted, chosen = set(formats), set(options)
    _refuse_unknown("format", wanted, FORMATS)
    _refuse_unknown("option", chosen, (*(str(each) for each in Option), *ACCEPTANCES))
    if not wanted:
        raise Permanent(f"nothing is to be exported: name a format of {', '.join(FORMATS)}")
    if "datalist" in wanted and wanted.isdisjoint(IMAGE_FORMATS):
        raise Permanent("a datalist names images: export nifti or dicom with it")
    return ExportOptions(
        tuple(each for each in FORMATS if each in wanted),
        tuple(each for each in Option if str(each) in chosen),
        tuple(each for each in ACCEPTANCES if each in chosen),
    )


def _refuse_unknown(what: str, given: set[str], known: tuple[str, ...]) -> None:
    if unknown := sorted(given.difference(known)):
        raise Permanent(f"there is no {what} {unknown[0]!r}; there are {', '.join(known)}")


def profile_record(options: ExportOptions) -> dict[str, Any]:
    """Return what export.json says about the de-identification."""
    codes = [BASIC_CODE, *(CODES[each] for each in options.options)]
    return {
        "profile": f"{EDITION} Annex E, Basic Application Level Confidentiality Profile",
        "codes": [{"code": code, "scheme": "DCM", "meaning": meaning} for code, meaning in codes],
        "not_claimed": [
            "Clean Pixel Data (113101): images that may hold burned-in text are left out",
            "Clean Recognizable Visual Features (113102): no image is defaced",
        ],
    }
