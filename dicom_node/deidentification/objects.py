"""A stored object becomes the bytes of a de-identified DICOM file (PS3.10 section 7).

Pixels are decoded and written plainly: comments of an encoder, bytes behind the last frame and bits
beside the stored ones have no place to hide in. Everything else goes through the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_partial
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.content import Frame, Undecodable, decoded
from dicom_node.deidentification.attributes import words
from dicom_node.deidentification.cleaning import Names
from dicom_node.deidentification.profile import BASIC_CODE, CODES, EDITION, Option, Profile
from dicom_node.deidentification.rules import Rules
from dicom_node.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.part10 import NotPart10, open_part10

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST_PIXELS = 0x7FE00000
_OVERLAY_POSITION = 0x0102
_MODALITIES = frozenset({"MR", "CT", "CR", "DX", "MG", "PT", "NM", "XA", "RF", "IO", "PX"})
"""Of objects that are taken; of others nobody has said where text may be burned in."""
_IDENTIFIERS: tuple[str, ...] = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "AdmissionID",
    "ServiceEpisodeID", "PatientBirthName", "PatientMotherBirthName", "MedicalRecordLocator",
    "PatientTelephoneNumbers", "PatientAddress", "PatientBirthDate", "RequestedProcedureID",
    "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    "InstitutionName", "InstitutionAddress", "ScheduledProcedureStepID",
    "PatientInstitutionResidence",
)  # fmt: skip


def deidentified(file: BinaryIO, profile: Profile, maximum_bytes: int) -> bytes:
    """Return the bytes of the de-identified file of an image that is open for reading.

    Raises:
        Undecodable: it cannot be read, decoded or written, or is of a kind that is not taken; the
            reason names no value of it.
        OSError: the disk cannot be read.
    """
    with decoded(file, maximum_bytes) as (count, frames):
        original = _header(file)
        made = Rules(profile, Names(_identifying(original))).apply(original)
        _check(original, made)
        _add_pixels(made, original, count, frames)
        _add_statement(made, original, profile)
        return _encoded(made)


def _header(file: BinaryIO) -> Dataset:
    try:
        with open_part10(file) as part10:
            part10.buffer.seek(0)
            read: Any = read_partial(
                part10.buffer,  # type: ignore[arg-type]
                stop_when=lambda tag, _vr, _length: tag >= _FIRST_PIXELS,
            )
            # Values are decoded while the file is open; a value that is none ends here.
            header = Dataset()
            for element in read:
                header[element.tag] = element
            for _ in header.iterall():
                continue
    except NotPart10 as error:
        raise Undecodable(str(error)) from None
    return header


def _identifying(original: Dataset) -> Iterator[str]:
    """Yield what names the patient and others: every person's name, every identifier."""
    for element in original.iterall():
        if element.VR == "PN" or element.keyword in _IDENTIFIERS:
            values = element.value if element.VM > 1 else [element.value]
            for value in values:
                yield str(value) if element.VR == "PN" else _without_terms(str(value))


def _without_terms(text: str) -> str:
    """Return an identifier without words that are terms: a spine centre is no patient."""
    return " ".join(word for word in text.split() if word.casefold() not in words())


def _check(original: Dataset, made: Dataset) -> None:
    """Check that what every image needs has survived."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not made.get(keyword):
            raise Undecodable("a UID that every image has is missing or malformed")
    if "ModalityLUTSequence" in original:
        raise Undecodable("the values of the pixels depend on a lookup table")
    modality = str(original.get("Modality", ""))
    if modality not in _MODALITIES:
        raise Undecodable("objects of this modality are not de-identified")
    made.Modality = modality
    groups = {element.tag.group for element in original if element.tag.group >> 8 == 0x60}
    for group in groups:
        position = original.get((group, _OVERLAY_POSITION))
        if position is not None and position.value:
            raise Undecodable("overlay graphics lie in the bits of the pixel data")


def _add_pixels(made: Dataset, original: Dataset, count: int, frames: Iterable[Frame]) -> None:
    import numpy as np

    stored, high = int(original.BitsStored), int(original.HighBit)
    if high != stored - 1:
        raise Undecodable("the stored bits of the pixels do not begin at the lowest one")
    pieces: list[bytes] = []
    for frame in frames:
        pixels = frame.pixels
        if pixels.dtype.kind not in "ui" or pixels.dtype.itemsize > 2:
            raise Undecodable("only pixels of integers of at most 16 bits are de-identified")
        pieces.append(_within(pixels, stored).astype(pixels.dtype.newbyteorder("<")).tobytes())
        if frame.photometric == "PALETTE COLOR":
            raise Undecodable("the values of the pixels depend on a colour palette")
        made.PhotometricInterpretation = frame.photometric
        made.BitsAllocated = 8 * pixels.dtype.itemsize
        made.PixelRepresentation = int(pixels.dtype.kind == "i")
        made.SamplesPerPixel = pixels.shape[2] if np.ndim(pixels) == 3 else 1
        made.Rows, made.Columns = pixels.shape[:2]
    made.BitsStored, made.HighBit = stored, stored - 1
    if made.SamplesPerPixel > 1:
        made.PlanarConfiguration = 0
    if count > 1:
        made.NumberOfFrames = count
    data = b"".join(pieces)
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OW" if made.BitsAllocated == 16 else "OB"


def _within(pixels: NDArray[Any], stored: int) -> NDArray[Any]:
    """Return the values of the stored bits alone, with their sign."""
    beside = 8 * pixels.dtype.itemsize - stored
    if beside <= 0:
        return pixels
    return (pixels << beside) >> beside


def _add_statement(made: Dataset, original: Dataset, profile: Profile) -> None:
    """Say what was done (PS3.15 E.1.1, PS3.3 C.7.1.1 and C.12.1)."""
    options = sorted(profile.options)
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientName = made.PatientID = profile.patient
    for keyword in ("PatientBirthDate", "PatientSex"):
        if keyword in original and keyword not in made:
            setattr(made, keyword, None)
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = [
        f"{EDITION} Basic Profile",
        *options,
        profile.software[:64],
    ]
    codes = [BASIC_CODE, *(CODES[option] for option in options)]
    made.DeidentificationMethodCodeSequence = [_code(*each) for each in codes]
    moved = Option.MODIFIED_DATES in profile.options
    made.LongitudinalTemporalInformationModified = "MODIFIED" if moved else "REMOVED"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _encoded(made: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    made.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()
