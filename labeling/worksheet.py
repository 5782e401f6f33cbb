"""Worksheets for readers: what to read and empty cells for what they say, no machine's label.

A worksheet is a CSV in UTF-8 with a byte order mark, which spreadsheets open as it is; columns that
hold numbers (subjects) have to be opened as text, or leading zeros go.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labeling.reference_file import ADJUDICATOR, COLUMNS, Place

HEAD = (*COLUMNS, "severity", "quote", "blinded", "role", "sample")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Sheet:
    """What a worksheet is about.

    Args:
        sample: digest of the stored sample.
        level: of the subjects.
        places: observations and sites, in the order of the schema.
        seed: of the order.
    """

    sample: str
    level: str
    places: Sequence[Place]
    seed: int


def worksheet(
    sheet: Sheet,
    subjects: Sequence[str],
    reader: int,
    name: str,
    texts: Mapping[str, str] | None = None,
) -> bytes:
    """Return the worksheet of one reader; each has the subjects in another order.

    Args:
        sheet: what it is about.
        subjects: of the sample.
        reader: number of the reader, from 1; it decides the order.
        name: that stands in the column ``reader``.
        texts: of the reports; each stands in the first row of its subject. None: no texts.
    """
    ordered = sorted(subjects)
    order = np.random.default_rng((sheet.seed, 3, reader)).permutation(len(ordered))
    rows = []
    for place in order:
        subject = ordered[int(place)]
        text = None if texts is None else texts.get(subject, "")
        for each in sheet.places:
            row = [sheet.level, subject, *each, name, "", "", "", "", "", sheet.sample]
            rows.append(row if text is None else [*row, _as_text(text)])
            text = text and ""
    return _written(HEAD if texts is None else (*HEAD, "report"), rows)


def adjudication(sample: str, disputed: Sequence[tuple[str, str, Place, str]], name: str) -> bytes:
    """Return the worksheet of an adjudicator: disputed places with what the readers said.

    Args:
        sample: digest of the stored sample.
        disputed: level, subject, place, and the states in words, without who said which.
        name: that stands in the column ``reader``.
    """
    rows = [
        [level, subject, *place, name, "", "", "", "", ADJUDICATOR, sample, said]
        for level, subject, place, said in disputed
    ]
    return _written((*HEAD, "readers_said"), rows)


def _as_text(value: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def _written(head: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue().encode("utf-8-sig")
