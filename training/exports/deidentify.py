"""De-identified DICOM files of a member: which profile, under which secret.

The profile itself runs where objects are parsed, in a confined process: see
:mod:`dicom_node.deidentification`.
"""

from __future__ import annotations

from pathlib import Path

from dicom_node.deidentification.profile import Profile, shift_of
from dicom_node.errors import Transient as NodeTransient
from dicom_node.inspection import Undecodable
from dicom_node.sandbox import Sandbox
from training.errors import Permanent, Transient
from training.exports.options import ExportOptions

_PREAMBLE = bytes(128) + b"DICM"


def profile_for(key: bytes, patient: str, options: ExportOptions, software: str) -> Profile:
    """Return how a patient's objects are de-identified in the exports under a secret."""
    return Profile(
        key=key,
        patient=patient,
        shift_days=shift_of(key, patient),
        options=frozenset(options.options),
        software=software,
    )


def deidentified_file(path: Path, profile: Profile, sandbox: Sandbox) -> bytes:
    """Return the bytes of the de-identified file of an archived image.

    Raises:
        Permanent: it cannot be de-identified; the message names no value of it.
        Transient: the file or a process cannot be had now.
    """
    try:
        content = sandbox.deidentified(path, profile)
    except Undecodable as error:
        raise Permanent(f"an image cannot be de-identified: {error}") from None
    except OSError as error:
        raise Transient("an image file could not be read") from error
    except NodeTransient as error:
        raise Transient(str(error)) from error
    if not content.startswith(_PREAMBLE):
        raise Permanent("an image cannot be de-identified: no DICOM file came of it")
    return content
