"""What the node asks about a stored object, and the answers: who it belongs to, what it shows.

Every answer comes from an :class:`Inspector`. :class:`DirectInspector` works in this process: it is
what the confined child runs, and what tests use. Where bytes come from a peer, take
:class:`dicom_node.sandbox.Sandbox`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_node import content, functional_groups, headers, structure
from dicom_node.content import Undecodable
from dicom_node.headers import Elements, Header, Unreadable
from dicom_node.part10 import NotPart10, open_part10

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.greyscale import GreyImage, Rendition

__all__ = [
    "DecodedImage",
    "Decoder",
    "DirectInspector",
    "Elements",
    "GreyDecoder",
    "Header",
    "Inspector",
    "Undecodable",
    "Unreadable",
    "data_set_of",
]

LARGEST_IMAGE = 512 * 2**20
"""Bytes of decoded pixels that one call hands over."""


@dataclass(frozen=True)
class DecodedImage:
    """The pixels of one object.

    Attributes:
        frames: (frames, rows, columns) or (frames, rows, columns, samples), as stored, without
            rescaling; YCbCr is converted to RGB.
        photometric_interpretation: of ``frames``.
    """

    frames: NDArray[Any]
    photometric_interpretation: str


class Inspector(Protocol):
    """Interprets stored objects; no answer names a value that it refuses."""

    def headers(self, paths: Sequence[Path]) -> list[Header | Unreadable]:
        """Return the header of each file, or why it cannot be filed, in the order of ``paths``.

        Raises:
            OSError: the disk cannot be read.
            Transient: no parser can be had now; the files are as good as before.
        """
        ...

    def content_digest(self, path: Path) -> str:
        """Return SHA-256 (hex) of what the object shows, whatever its header says.

        See :func:`dicom_node.content.content_digest`.

        Raises:
            Undecodable: nobody can see what the object shows.
            OSError: the disk cannot be read.
            Transient: no decoder can be had now.
        """
        ...


class Decoder(Protocol):
    """Reads images for analysis."""

    def elements(self, path: Path, keywords: Sequence[str]) -> Elements:
        """Return top-level elements as text, without those that are absent or empty.

        Values are decoded, not judged. Of a sequence, all elements of its items are returned.

        Args:
            path: a stored object.
            keywords: of the elements (PS3.6).

        Raises:
            Unreadable: the file cannot be parsed.
            OSError: the disk cannot be read.
            Transient: no parser can be had now.
        """
        ...

    def image(self, path: Path, maximum_bytes: int = LARGEST_IMAGE) -> DecodedImage:
        """Decode all frames of an object.

        Raises:
            Undecodable: no pixels, damaged pixels, or more than ``maximum_bytes`` decoded.
            OSError: the disk cannot be read.
            Transient: no decoder can be had now.
        """
        ...


class GreyDecoder(Decoder, Protocol):
    """Reads images for analysis, frame by frame, as grey values that mean the same everywhere."""

    def frames(self, path: Path) -> list[Elements]:
        """Return what each frame of an enhanced multi-frame image says of itself.

        See :mod:`dicom_node.functional_groups`; empty for an image without functional groups.
        Raises as ``elements`` does.
        """
        ...

    def grey(
        self, path: Path, rendition: Rendition, maximum_bytes: int = LARGEST_IMAGE
    ) -> GreyImage:
        """Return grey values; see :func:`dicom_node.greyscale.grey_frames`.

        Raises:
            Undecodable: no grey pixels, damaged ones, or more than ``maximum_bytes`` of float32.
            OSError: the disk cannot be read.
            Transient: no decoder can be had now.
        """
        ...


class DirectInspector:
    """An inspector and decoder in this process, without any limit on what a parser does."""

    def headers(self, paths: Sequence[Path]) -> list[Header | Unreadable]:
        """See :class:`Inspector`."""
        found: list[Header | Unreadable] = []
        for path in paths:
            with path.open("rb") as file:
                found.append(inspect_header(file))
        return found

    def content_digest(self, path: Path) -> str:
        """See :class:`Inspector`."""
        with path.open("rb") as file:
            return content.content_digest(file)

    def elements(self, path: Path, keywords: Sequence[str]) -> Elements:
        """See :class:`Decoder`."""
        with path.open("rb") as file:
            return headers.elements_of(file, keywords)

    def image(self, path: Path, maximum_bytes: int = LARGEST_IMAGE) -> DecodedImage:
        """See :class:`Decoder`."""
        import numpy as np

        with path.open("rb") as file, content.decoded(file, maximum_bytes) as (_, decoded):
            frames = list(decoded)
        return DecodedImage(np.stack([each.pixels for each in frames]), frames[0].photometric)

    def frames(self, path: Path) -> list[Elements]:
        """See :class:`GreyDecoder`."""
        with path.open("rb") as file:
            return functional_groups.frames_of(file)

    def grey(
        self, path: Path, rendition: Rendition, maximum_bytes: int = LARGEST_IMAGE
    ) -> GreyImage:
        """See :class:`GreyDecoder`."""
        import numpy as np

        from dicom_node.greyscale import GreyImage, grey_frames

        with path.open("rb") as file, grey_frames(file, rendition, maximum_bytes) as (_, got):
            rendered = list(got)
        return GreyImage(np.stack([pixels for pixels, _ in rendered]), rendered[0][1])


def inspect_header(file: BinaryIO) -> Header | Unreadable:
    """Check the structure of an open file, then read its header.

    Raises:
        OSError: the disk cannot be read.
    """
    try:
        with open_part10(file) as part10:
            found = structure.examine_part10(part10)
            if found.fault:
                return Unreadable(found.fault, found.study_instance_uid)
            return headers.header_in(part10, os.fstat(file.fileno()).st_size, found.geometry)
    except NotPart10 as error:
        return Unreadable(str(error))
    except Unreadable as error:
        return error


def data_set_of(elements: Elements) -> Dataset:
    """Return elements as a data set, their values unjudged: they are stored that way."""
    data_set = Dataset()
    for keyword, values in elements.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            continue
        vr = dictionary_VR(tag)
        if vr == "SQ":
            value: Any = [data_set_of(item) for item in values]
        else:
            value = values if len(values) > 1 else values[0]
        data_set.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))
    return data_set
