"""PS3.15 Table E.1-1 as data: what the profile and its options say about each attribute.

``attributes.csv`` holds a row for every attribute of the table that the data dictionary knows:
tag, keyword, action of the Basic Profile, then the action where an option is chosen (K keep,
C clean, empty: the option does not speak of it). An attribute that the dictionary does not know
cannot be judged and is removed.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dicom_node.deidentification.profile import Option

_COLUMNS = {
    "patient": Option.PATIENT_CHARACTERISTICS,
    "device": Option.DEVICE_IDENTITY,
    "dates": Option.MODIFIED_DATES,
    "descriptors": Option.CLEAN_DESCRIPTORS,
}


@dataclass(frozen=True)
class Attribute:
    """One row: ``basic`` is X, Z, D, U or a choice of them; ``options`` gives K or C by option."""

    keyword: str
    basic: str
    options: dict[Option, str]


@cache
def table() -> dict[int, Attribute]:
    """Return the rows of the table by tag."""
    text = (files("dicom_node.deidentification") / "attributes.csv").read_text(encoding="ascii")
    return {
        int(row["tag"], 16): Attribute(
            row["keyword"],
            row["basic"],
            {option: row[name] for name, option in _COLUMNS.items() if row[name]},
        )
        for row in csv.DictReader(text.splitlines())
    }


@cache
def words() -> frozenset[str]:
    """Return the words that cleaned text may consist of: terms of imaging, none of a person."""
    text = (files("dicom_node.deidentification") / "words.txt").read_text(encoding="ascii")
    return frozenset(text.split())
