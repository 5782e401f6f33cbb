"""Every table has its place in an erasure; messages that only their bytes know."""

import pytest
from sqlmodel import SQLModel

from plugin.migrations import TABLES
from plugin.stages.erase_messages import _names_patient, _narrow
from plugin.stages.erase_rows import DELETED_BY, KEPT, MENDED
from plugin.stages.erase_whom import Subject
from tests.hl7_builders import merge, oru


def test_every_table_is_deleted_from_mended_or_holds_nothing_about_patients() -> None:
    assert TABLES
    tables = set(SQLModel.metadata.tables)
    assert tables == {*DELETED_BY, *MENDED, *KEPT}
    assert len(tables) == len(DELETED_BY) + len(MENDED) + len(KEPT)
    subject = Subject(set())
    for name, columns in DELETED_BY.items():
        for column, values in columns.items():
            assert column in SQLModel.metadata.tables[name].c
            assert isinstance(getattr(subject, values), set)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (oru(patient="77^^^HOSP^MR"), True),
        (oru(patient="1^^^X~77^^^HOSP&1.2&ISO"), True),
        (oru(patient="77"), True),  # nobody says whose number it is
        (oru(patient="77^^^ELSEWHERE"), False),
        (oru(patient="177^^^HOSP", lines=["77"]), False),
        (merge("77^^^HOSP", "78^^^HOSP"), True),
        (merge("78^^^HOSP", "77^^^HOSP"), True),
        (oru(patient="77^^^HOSP").decode().encode("utf-16"), True),
        (b"a fragment|77|of something", True),
        (b"a fragment|1774|of something", False),
    ],
)
def test_messages_whose_bytes_name_the_patient(content: bytes, named: bool) -> None:
    assert _names_patient(_narrow(content), Subject({("HOSP", "77")})) is named


def test_an_identifier_that_had_to_be_escaped_is_found() -> None:
    content = oru(patient="A\\T\\B^^^HOSP")
    assert _names_patient(content, Subject({("HOSP", "A&B")}))
