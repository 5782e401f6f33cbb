"""The HL7 part of the conformance statement against the code that it speaks of."""

from pathlib import Path

import pytest

from dicom_node.conformance import with_tables
from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7 import reader, text
from dicom_node.hl7.envelope import ERROR_TEXTS
from dicom_node.hl7_conformance import FIELDS, TABLES
from dicom_node.reports.status import OBSERVATION_STATUSES, RESULT_STATUSES
from tests.hl7_field_effects import SAMPLES, read_fields

DOCUMENT = (Path(__file__).parents[3] / "deploy/conformance.md").read_text(encoding="utf-8")


def test_the_tables_of_the_document_are_up_to_date() -> None:
    assert with_tables(DOCUMENT) == DOCUMENT, "run python -m dicom_node.conformance"


@pytest.mark.parametrize("kind", list(FIELDS))
def test_the_fields_that_are_stated_count_and_no_others(kind: str) -> None:
    assert read_fields(kind) == FIELDS[kind].keys()


def test_every_stated_field_has_a_sample() -> None:
    assert SAMPLES.keys() == FIELDS.keys()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("HL7 messages", reader.MESSAGE_TYPES),
        ("HL7 character sets", text.CHARSETS),
        ("HL7 errors", map(str, ERROR_TEXTS)),
        ("HL7 result statuses", RESULT_STATUSES),
        ("HL7 observation statuses", (code or "(none)" for code in OBSERVATION_STATUSES)),
        ("HL7 paths", (f"`{n}`" for n in FeedProfile.model_fields if n.endswith("_fields"))),
    ],
)
def test_a_table_names_everything_that_the_code_knows(name: str, words: object) -> None:
    lines = TABLES[name]().splitlines()[2:]
    assert {line.split(" | ")[0].strip("| ") for line in lines} == set(words)  # type: ignore[call-overload]
