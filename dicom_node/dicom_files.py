"""DICOM files on disk as a sender sees them: what they are and in which encoding they lie."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import MediaStorageDirectoryStorage

from dicom_node.errors import Permanent

_REQUIRED = {
    "MediaStorageSOPClassUID": "SOP Class UID",
    "MediaStorageSOPInstanceUID": "SOP Instance UID",
    "TransferSyntaxUID": "Transfer Syntax UID",
}


@dataclass(frozen=True)
class StoredFile:
    """What the file meta information (PS3.10 7.1) says of a file."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def read_stored_file(path: Path) -> StoredFile:
    """Read the file meta information, never the data set.

    Raises:
        Permanent: the file cannot be read, is no DICOM file, or is one that cannot be stored.
    """
    try:
        with warnings.catch_warnings():
            # The library quotes the value that it complains about.
            warnings.simplefilter("ignore")
            found = _identity(read_file_meta_info(path))
    except Permanent:
        raise
    except InvalidDicomError as error:
        raise Permanent("not a DICOM file (no DICM prefix)") from error
    except OSError as error:
        raise Permanent(f"cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged header makes pydicom raise whatever it meets
        raise Permanent(f"damaged file meta information ({type(error).__name__})") from error
    return StoredFile(path, *found)


def _identity(meta: FileMetaDataset) -> tuple[str, str, str]:
    """Return the required UIDs; the library decodes each value when it is asked for."""
    missing = [name for keyword, name in _REQUIRED.items() if not meta.get(keyword)]
    if missing:
        raise Permanent(f"the file meta information lacks {', '.join(missing)}")
    if meta.MediaStorageSOPClassUID == MediaStorageDirectoryStorage:
        raise Permanent("a media directory (DICOMDIR) is not stored")
    if not (meta.MediaStorageSOPClassUID.is_valid and meta.TransferSyntaxUID.is_valid):
        raise Permanent("the file meta information names a UID that is none")
    sop_class, instance, syntax = (str(meta[keyword].value) for keyword in _REQUIRED)
    return sop_class, instance, syntax


def find_dicom_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Walk ``folder`` (or take the one file that it is) in a fixed order.

    Yields:
        Each file with "" where it can be sent, else with the reason why not. Links to folders
        are not followed.
    """
    for path in _files(folder):
        try:
            read_stored_file(path)
        except Permanent as error:
            yield path, str(error)
        else:
            yield path, ""


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        yield folder
        return
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(parent, name)
