"""Checks what a confined process answers: it has touched bytes of a peer, so it may lie.

Whatever is not exactly an answer of the right form is :class:`Nonsense`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import socket
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicom_node.content import Undecodable
from dicom_node.file_meta import is_uid
from dicom_node.functional_groups import MOST_FRAMES
from dicom_node.headers import DEEPEST_ITEM, Elements, Header, Unreadable
from dicom_node.inspection import DecodedImage
from dicom_node.sandbox_frames import BINARY, JSON, Nonsense, receive_head, receive_into

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.greyscale import GreyImage

Answer = dict[str, Any]

LARGEST_ANSWER = 8 * 2**20
"""Bytes of an answer in JSON; a header has two dozen values of at most 64 KiB."""
_LONGEST_TEXT = 64 * 1024
_LONGEST_DOCUMENT = 1024 * 1024

_REASON = re.compile(r"[ -~]{1,300}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PHOTOMETRIC = re.compile(r"[A-Z0-9_ ]{1,16}")
_DTYPE = re.compile(r"[<|]([ui][1248]|f[48])")
_LARGEST_SIDE, _MOST_FRAMES = 65535, 2**31 - 1
_NUMBERS = {"size", "rows", "columns", "number_of_frames"}
_UIDS = {"sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid"}


@dataclasses.dataclass(frozen=True)
class Form:
    """The array that the frames of an image make."""

    shape: tuple[int, ...]
    dtype: str
    photometric_interpretation: str


def parse(kind: bytes, payload: bytearray) -> Answer:
    """Return an answer in JSON, always an object."""
    try:
        value = json.loads(payload) if kind == JSON else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Nonsense
    return value


def restrictions(answer: Answer) -> tuple[str, ...]:
    """Return what is in force, as a worker says before it has seen a byte of a peer."""
    return tuple(_text(each) for each in _list(answer.get("restrictions")))


def header(answer: Answer, size: int) -> Header | Unreadable:
    """Return the header of a file of ``size`` bytes."""
    if "refused" in answer:
        return _unreadable(answer)
    values = answer.get("header")
    names = {field.name for field in dataclasses.fields(Header)}
    if not isinstance(values, dict) or values.keys() != names:
        raise Nonsense
    for name, value in values.items():
        if name in _NUMBERS:
            _number(value, 0, 2**63 - 1)
        elif name in _UIDS and not is_uid(_text(value)):
            raise Nonsense
        else:
            _text(value)
    if values["size"] != size:
        raise Nonsense
    return Header(**values)


def elements(answer: Answer, _size: int) -> Elements | Unreadable:
    """Return elements as text."""
    if "refused" in answer:
        return _unreadable(answer)
    return _elements(answer.get("elements"), DEEPEST_ITEM)


def _elements(value: Any, depth: int) -> Elements:
    if not isinstance(value, dict) or depth < 0:
        raise Nonsense
    for keyword, values in value.items():
        tag = tag_for_keyword(_text(keyword))
        if tag is None or not _list(values):
            raise Nonsense
        is_sequence = dictionary_VR(tag) == "SQ"
        for each in values:
            if is_sequence:
                _elements(each, depth - 1)
            else:
                _text(each)
    return value


def frames(answer: Answer, _size: int) -> list[Elements] | Unreadable:
    """Return the elements of each frame as text."""
    if "refused" in answer:
        return _unreadable(answer)
    found = _list(answer.get("frames"))
    if len(found) > MOST_FRAMES:
        raise Nonsense
    return [_elements(each, DEEPEST_ITEM) for each in found]


def digest(answer: Answer) -> str:
    """Return a digest.

    Raises:
        Undecodable: the worker could not make one.
    """
    _raise_refusal(answer)
    found = _text(answer.get("digest"))
    if not _DIGEST.fullmatch(found):
        raise Nonsense
    return found


def document_text(answer: Answer) -> str:
    """Return the text of a document.

    Raises:
        Undecodable: the worker found none.
    """
    _raise_refusal(answer)
    return _text(answer.get("text"), _LONGEST_DOCUMENT)


def binary(sock: socket.socket, answer: Answer, maximum_bytes: int, deadline: float) -> bytes:
    """Receive the bytes of a file that the worker made.

    Raises:
        Undecodable: it made none.
    """
    _raise_refusal(answer)
    size = _number(answer.get("bytes"), 1, maximum_bytes)
    kind, length = receive_head(sock, deadline)
    if kind != BINARY or length != size:
        raise Nonsense
    payload = bytearray(length)
    receive_into(sock, memoryview(payload), deadline)
    return bytes(payload)


def form(answer: Answer, maximum_bytes: int) -> Form:
    """Return the form of an image that is about to come.

    Raises:
        Undecodable: there is none.
    """
    _raise_refusal(answer)
    frames = _number(answer.get("frames"), 1, _MOST_FRAMES)
    sides = [_number(each, 1, _LARGEST_SIDE) for each in _list(answer.get("shape"))]
    dtype = _text(answer.get("dtype"))
    photometric = _text(answer.get("photometric_interpretation"))
    if len(sides) not in (2, 3) or not _DTYPE.fullmatch(dtype):
        raise Nonsense
    if not _PHOTOMETRIC.fullmatch(photometric):
        raise Nonsense
    size = frames * int(dtype[2:])
    for side in sides:
        size *= side
    if size > maximum_bytes:
        raise Undecodable("the decoded pixels would be too large")
    return Form((frames, *sides), dtype, photometric)


def image(sock: socket.socket, form: Form, deadline: float) -> DecodedImage:
    """Receive the frames of an image.

    Raises:
        Undecodable: a later frame could not be decoded.
    """
    import numpy as np

    pixels: NDArray[Any] = np.empty(form.shape, np.dtype(form.dtype))
    for frame in pixels:
        target = memoryview(frame).cast("B")
        kind, length = receive_head(sock, deadline)
        if kind == JSON and length <= LARGEST_ANSWER:
            payload = bytearray(length)
            receive_into(sock, memoryview(payload), deadline)
            _raise_refusal(parse(kind, payload))
        if kind != BINARY or length != len(target):
            raise Nonsense
        receive_into(sock, target, deadline)
    return DecodedImage(pixels, form.photometric_interpretation)


def grey_image(sock: socket.socket, answer: Answer, form: Form, deadline: float) -> GreyImage:
    """Receive the frames of an image in grey values.

    Raises:
        Undecodable: a later frame could not be decoded.
    """
    import numpy as np

    from dicom_node.greyscale import APPLIED, GreyImage

    applied = _text(answer.get("applied"))
    if form.dtype != "<f4" or len(form.shape) != 3 or applied not in APPLIED:
        raise Nonsense
    pixels = image(sock, form, deadline).frames
    if not np.isfinite(pixels).all():
        raise Nonsense
    return GreyImage(pixels, applied)


def _unreadable(answer: Answer) -> Unreadable:
    study = _text(answer.get("study"))
    if study and not is_uid(study):
        raise Nonsense
    return Unreadable(_reason(answer), study)


def _raise_refusal(answer: Answer) -> None:
    if "refused" in answer:
        raise Undecodable(_reason(answer))


def _reason(answer: Answer) -> str:
    reason = _text(answer["refused"])
    if not _REASON.fullmatch(reason):
        raise Nonsense
    return reason


def _text(value: Any, longest: int = _LONGEST_TEXT) -> str:
    """Return a text that a database takes: no NUL, no lone surrogates."""
    if not isinstance(value, str) or len(value) > longest or "\0" in value:
        raise Nonsense
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Nonsense from None
    return value


def _number(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise Nonsense
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Nonsense
    return value
