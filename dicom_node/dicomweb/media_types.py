"""Media types of requests and answers (PS3.18 8.7, RFC 9110 12.5.1, RFC 2046 5.1.1)."""

from __future__ import annotations

import re
from email.message import Message

from dicom_node.dicomweb.refusal import Refusal

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"

# RFC 2046 allows 70 characters; Orthanc writes 73.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")
_ACCEPTED = frozenset((DICOM_JSON, "application/json", "application/*", "*/*"))
_LONGEST_HEADER = 4096


def parse_media_type(header: str) -> tuple[str, dict[str, str]]:
    """Return a media type and its parameters, names in lower case; empty where it is none."""
    if len(header) > _LONGEST_HEADER:
        return "", {}
    message = Message()
    message["Content-Type"] = header.replace("\r", " ").replace("\n", " ")
    try:
        found = message.get_params(failobj=[], unquote=True)
    except (ValueError, LookupError):
        return "", {}
    if not found or found[0][1]:
        return "", {}
    parameters = {name.lower(): value for name, value in found[1:] if isinstance(value, str)}
    return found[0][0].lower(), parameters


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a request that holds DICOM objects.

    Raises:
        Refusal: 415 for any other content, 400 where the boundary is missing or malformed.
    """
    kind, parameters = parse_media_type(content_type)
    inner = parse_media_type(parameters.get("type", ""))[0]
    if kind == "multipart/related" and inner and inner != DICOM:
        raise Refusal(
            415, "metadata and bulk data by themselves are not stored, only whole objects"
        )
    if kind != "multipart/related" or not inner:
        raise Refusal(415, 'the content must be multipart/related; type="application/dicom"')
    boundary = parameters.get("boundary", "")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise Refusal(400, "the boundary is missing or malformed")
    return boundary.encode("ascii")


def check_accept(header: str) -> None:
    """Let pass who takes DICOM JSON.

    Raises:
        Refusal: 406.
    """
    if not header.strip():
        return
    for each in header.split(","):
        kind, parameters = parse_media_type(each.strip())
        if kind in _ACCEPTED and not _is_excluded(parameters.get("q", "1")):
            return
    raise Refusal(406, f"the answer is {DICOM_JSON}")


def _is_excluded(quality: str) -> bool:
    try:
        return float(quality) <= 0
    except ValueError:
        return False
