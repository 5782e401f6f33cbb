"""Reads what the index needs from a stored file; whatever a peer put there, it ends in a reason.

Reading stops behind group 0020, long values are skipped, text is decoded strictly by its Specific
Character Set, and every exception that the parser lets escape becomes :class:`Unreadable`.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from dicom_node.errors import Permanent
from dicom_node.file_meta import ROUTED, is_uid, way_of
from dicom_node.part10 import NotPart10, Part10, open_part10
from dicom_node.pixel_geometry import FLOAT_PIXEL_DATA, Geometry

_LAST_TAG = 0x0020FFFF
DEEPEST_ITEM = 32
"""Of a sequence whose values are read; the store takes nothing deeper."""
_LONGEST_VALUE = 64 * 1024
_ESCAPE = b"\x1b"

_Result = TypeVar("_Result")

# Without these an object cannot be filed (PS3.3 C.12.1, C.7.2.1, C.7.3.1).
_UIDS = {
    "sop_class_uid": 0x00080016,
    "sop_instance_uid": 0x00080018,
    "study_instance_uid": 0x0020000D,
    "series_instance_uid": 0x0020000E,
}
# Values that decide who is who: a wrong character here is a wrong identity.
_IDENTITIES = {
    "accession_number": 0x00080050,
    "patient_id": 0x00100020,
    "issuer_of_patient_id": 0x00100021,
}
_TEXTS = {
    "study_date": 0x00080020,
    "study_time": 0x00080030,
    "modality": 0x00080060,
    "manufacturer": 0x00080070,
    "institution_name": 0x00080080,
    "study_description": 0x00081030,
    "series_description": 0x0008103E,
    "manufacturer_model_name": 0x00081090,
    "patient_name": 0x00100010,
    "patient_birth_date": 0x00100030,
    "patient_sex": 0x00100040,
    "body_part_examined": 0x00180015,
    "series_number": 0x00200011,
    "instance_number": 0x00200013,
}
_PATIENT_NAME = _TEXTS["patient_name"]
_ACCESSION_ISSUER = 0x00080051
_PATIENT_ID_QUALIFIERS = 0x00100024
_LOCAL_NAMESPACE = 0x00400031
_UNIVERSAL_ENTITY = 0x00400032

_READ_TAGS: list[Any] = [
    *_UIDS.values(),
    *_IDENTITIES.values(),
    *_TEXTS.values(),
    _ACCESSION_ISSUER,
    _PATIENT_ID_QUALIFIERS,
]

PARSER_ERRORS: tuple[type[Exception], ...] = (
    InvalidDicomError,
    BytesLengthException,
    NotImplementedError,
    RecursionError,
    MemoryError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
)
"""What the parser was seen to raise on mutated files, besides its own InvalidDicomError."""
_RAISED: tuple[type[Exception], ...] = (*PARSER_ERRORS, OSError)  # not of the disk: it is mapped


class Unreadable(Permanent):
    """A stored object cannot be filed; the reason names no value of the object."""

    def __init__(self, reason: str, study_instance_uid: str = "") -> None:
        super().__init__(reason)
        self.study_instance_uid = study_instance_uid


@dataclass(frozen=True)
class Header:
    """What the index knows about one object; text is decoded, padding is removed."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    size: int
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    accession_number: str
    issuer_of_accession_number: str
    study_date: str
    study_time: str
    study_description: str
    modality: str
    series_number: str
    series_description: str
    body_part_examined: str
    manufacturer: str
    manufacturer_model_name: str
    instance_number: str
    rows: int = 0
    columns: int = 0
    number_of_frames: int = 0
    """0 for an object without pixel data."""
    institution_name: str = ""
    way: str = ROUTED
    """How it came: see :mod:`dicom_node.file_meta`."""


def read_header(path: Path) -> Header:
    """Read the header of a file that the store wrote.

    Raises:
        Unreadable: the object cannot be filed, with the reason.
        OSError: the disk cannot be read.
    """
    with path.open("rb") as file:
        return header_of(file)


def header_of(file: BinaryIO) -> Header:
    """Read the header of a stored file that is open for reading.

    Raises:
        Unreadable: the object cannot be filed, with the reason.
        OSError: the disk cannot be read.
    """
    try:
        with open_part10(file) as part10:
            return header_in(part10, os.fstat(file.fileno()).st_size)
    except NotPart10 as error:
        raise Unreadable(str(error)) from None


def header_in(part10: Part10, size: int, geometry: Geometry | None = None) -> Header:
    """Read the header of an object whose bytes are at hand.

    Args:
        part10: the object.
        size: bytes of its file.
        geometry: of its pixel data, where somebody has checked them.

    Raises:
        Unreadable: the object cannot be filed, with the reason.
    """
    with warnings.catch_warnings():
        # The library reports faults as warnings that quote the value.
        warnings.simplefilter("ignore")
        try:
            return _read(part10, size, geometry)
        except Unreadable:
            raise
        except _RAISED as error:
            raise Unreadable(f"the header cannot be parsed ({type(error).__name__})") from None


Elements = dict[str, list[Any]]
"""Keywords with their values as text, or, for a sequence, with the elements of its items."""


def elements_of(file: BinaryIO, keywords: Sequence[str]) -> Elements:
    """Return elements of an open file as text, without those that are absent or empty.

    Raises:
        Unreadable: the file cannot be parsed, or a value is too long.
        OSError: the disk cannot be read.
    """
    tags = [tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None]
    return read_part(file, tags, lambda found: as_elements(found, keywords), _LONGEST_VALUE)


def read_part(
    file: BinaryIO,
    tags: Sequence[int],
    work: Callable[[Dataset], _Result],
    longest: int | None = None,
) -> _Result:
    """Read elements before the pixels of an open file and hand them to ``work``.

    Args:
        file: open for reading.
        tags: top-level elements.
        work: what is done with them; what the library raises meanwhile is expected.
        longest: bytes; of a longer value only the place is kept. None: whole values.

    Raises:
        Unreadable: the file cannot be parsed, or ``work`` says so.
        OSError: the disk cannot be read.
    """
    try:
        with warnings.catch_warnings(), open_part10(file) as part10:
            warnings.simplefilter("ignore")
            data_set = read_partial(
                part10.buffer,  # type: ignore[arg-type]
                stop_when=lambda tag, _vr, _length: tag >= FLOAT_PIXEL_DATA,
                defer_size=longest,
                specific_tags=list(tags),
            )
            return work(data_set)
    except NotPart10 as error:
        raise Unreadable(str(error)) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise Unreadable("the object cannot be parsed (OSError)") from None
    except PARSER_ERRORS as error:
        raise Unreadable(f"the object cannot be parsed ({type(error).__name__})") from None


def as_elements(data_set: Dataset, keywords: Iterable[str], depth: int = 0) -> Elements:
    """Return elements of a data set as text, without those that are absent or empty.

    Raises:
        Unreadable: a value is too long, or its element is a sequence against the dictionary.
    """
    found = ((word, _values(data_set[word], depth)) for word in keywords if word in data_set)
    return {word: values for word, values in found if values}


def _values(element: DataElement, depth: int) -> list[Any]:
    # Who reads the answer goes by the dictionary, so nothing else may say what is a sequence.
    if (element.VR == "SQ") != (dictionary_VR(element.tag) == "SQ"):
        raise Unreadable("an element is a sequence against the dictionary, or is none")
    if element.VR == "SQ":
        if depth >= DEEPEST_ITEM:
            return []
        return [
            as_elements(item, [each.keyword for each in item if each.keyword], depth + 1)
            for item in element.value
        ]
    if element.VM == 0 or isinstance(element.value, bytes):
        return []
    many = element.value if element.VM > 1 else [element.value]
    texts = [str(each).replace("\0", "") for each in many]
    if any(len(each) > _LONGEST_VALUE for each in texts):
        raise Unreadable("a value is longer than 64 KiB")
    return texts


def _read(part10: Part10, size: int, geometry: Geometry | None) -> Header:
    part10.buffer.seek(0)
    data_set = read_partial(
        part10.buffer,  # type: ignore[arg-type]
        stop_when=lambda tag, _vr, _length: tag > _LAST_TAG,
        defer_size=_LONGEST_VALUE,
        specific_tags=_READ_TAGS,
    )
    encodings = _encodings(data_set)
    values = {name: _uid(data_set, tag, name) for name, tag in _UIDS.items()}
    study = values["study_instance_uid"]
    for name, tag in _IDENTITIES.items():
        text = _text(_raw(data_set, tag), encodings)
        if text is None:
            raise Unreadable(f"{name} is not text in its declared character set", study)
        values[name] = text
    for name, tag in _TEXTS.items():
        delimiters = PN_DELIMS if tag == _PATIENT_NAME else TEXT_VR_DELIMS
        values[name] = _text(_raw(data_set, tag), encodings, delimiters) or ""
    values["issuer_of_patient_id"] = values["issuer_of_patient_id"] or _issuer(
        data_set, _PATIENT_ID_QUALIFIERS, encodings
    )
    values["issuer_of_accession_number"] = _issuer(data_set, _ACCESSION_ISSUER, encodings)
    meta = data_set.file_meta
    named = (str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID))
    if named != (values["sop_class_uid"], values["sop_instance_uid"]):
        raise Unreadable("the data set is not the object that the command named", study)
    return Header(
        **values,
        transfer_syntax_uid=part10.transfer_syntax_uid,
        calling_ae_title=_ae_title(meta, "SendingApplicationEntityTitle"),
        called_ae_title=_ae_title(meta, "ReceivingApplicationEntityTitle"),
        size=size,
        way=way_of(
            str(meta.get("PrivateInformationCreatorUID", "")),
            _bytes(meta.get("PrivateInformation")),
        ),
        rows=geometry.rows if geometry else 0,
        columns=geometry.columns if geometry else 0,
        number_of_frames=geometry.frames if geometry else 0,
    )


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _ae_title(meta: Dataset, keyword: str) -> str:
    """Return what the receiver wrote; in a damaged file it may be anything."""
    return str(meta.get(keyword, "")).replace("\0", "").strip()


def _raw(data_set: Dataset, tag: int) -> bytes | None:
    """Return the encoded value; None where the element is absent or empty."""
    if tag not in data_set:
        return None
    element: Any = data_set.get_item(tag)
    value = element.value
    if not isinstance(element, RawDataElement):
        # The library decodes an empty element at once; only an encoded one states a length.
        return None
    if value is None and element.length > _LONGEST_VALUE:
        raise Unreadable(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is longer than 64 KiB")
    if value and len(value) != element.length:
        raise Unreadable(f"the file ends inside ({tag >> 16:04X},{tag & 0xFFFF:04X})")
    return value or None


def _uid(data_set: Dataset, tag: int, name: str) -> str:
    text = (_raw(data_set, tag) or b"").decode("latin-1").rstrip("\0 ")
    if not is_uid(text):
        raise Unreadable(f"{name} is {'not a UID' if text else 'missing'}")
    return text


def _encodings(data_set: Dataset) -> list[str]:
    """Return Python codecs for Specific Character Set (PS3.3 C.12.1.1.2), ASCII where it is silent.

    A term that nobody defined gives a codec that decodes nothing but ASCII.
    """
    # The library has decoded this one element by itself, to read sequences.
    stated = data_set.get("SpecificCharacterSet") or ""
    names = [term.strip(" \0") for term in ([stated] if isinstance(stated, str) else stated)]
    return [
        "ascii" if name in ("", "ISO_IR 6", "ISO 2022 IR 6") else python_encoding.get(name, "ascii")
        for name in names
    ]


def _text(
    raw: bytes | None, encodings: Sequence[str], delimiters: Any = TEXT_VR_DELIMS
) -> str | None:
    """Decode strictly; None where the bytes are not text in the declared character set."""
    if raw is None:
        return ""
    try:
        if _ESCAPE in raw:
            text = decode_bytes(raw, list(encodings), delimiters)
        else:
            text = raw.decode(encodings[0])
    except UnicodeError:
        return None
    # The library marks what it could not decode; a database may refuse NUL inside text.
    return None if "\ufffd" in text else text.replace("\0", "").strip()


def _issuer(data_set: Dataset, tag: int, encodings: Sequence[str]) -> str:
    """Return the first issuer of a sequence: its local namespace, else its universal id."""
    if tag not in data_set:
        return ""
    items = data_set[tag].value
    if not items:
        return ""
    for part in (_LOCAL_NAMESPACE, _UNIVERSAL_ENTITY):
        text = _text(_raw(items[0], part), encodings)
        if text:
            return text
    return ""
