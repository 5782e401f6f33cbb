"""The files of a series, with what their headers say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from training.domain.facts import LOOKED_AT, Facts, facts_of
from training.errors import Permanent
from training.images.headers import ImageHeader
from training.images.reading import read_images


class Series:
    """Files of one series, whose headers are read once.

    Args:
        paths: DICOM files, in any order.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    @cached_property
    def images(self) -> list[ImageHeader]:
        """The headers of all images; raises as ``training.images.reading.read_images``."""
        return read_images(self.paths)

    def facts(self, *, whole: bool) -> tuple[Facts, ...]:
        """Return what a few images say of how they were taken.

        Args:
            whole: read all headers, as they are needed in any case; else those of a few files.

        Raises:
            Permanent: there is no file, or one is not readable DICOM.
            Transient: a file could not be read from disk.
        """
        if not self.paths:
            raise Permanent("the series has no images")
        if whole or "images" in self.__dict__:
            return facts_of(self.images, len(self.images))
        ends = np.linspace(0, len(self.paths) - 1, LOOKED_AT)
        images = read_images([self.paths[at] for at in sorted({round(each) for each in ends})])
        files = min(len(self.paths), LOOKED_AT)
        return facts_of(images, round(len(images) / files * len(self.paths)))
