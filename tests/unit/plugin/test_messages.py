"""Commands about stored messages: which are meant, and what is said about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.database import Database
from dicom_node.rereading import Which
from plugin.errors import Permanent
from plugin.stages.messages import export_message, list_messages, show_message, which_messages
from tests.hl7_builders import database, oru, receive


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Database]:
    opened = database(tmp_path)
    receive(opened, oru(), oru(control_id="2", status="Q", filler="F2"), b"no HL7 \x1b[31m")
    yield opened
    opened.close()


def test_messages_are_listed_by_disposition_the_newest_first(made: Database) -> None:
    with made.read() as session:
        found = list_messages(session, Which(disposition="quarantined"))
        assert [each["id"] for each in found["messages"]] == [3, 2]
        assert (found["found"], found["all"]) == (2, {"accepted": 1, "quarantined": 2})


@pytest.mark.parametrize("arguments", [{"disposition": "bogus"}, {"since": "yesterday"}])
def test_conditions_that_mean_nothing_are_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(Permanent):
        which_messages(arguments)


def test_a_time_without_a_zone_is_local() -> None:
    found = which_messages({"since": "2026-03-01", "ids": [3]})
    assert found.since is not None
    assert found.since.tzinfo is not None
    assert found.ids == (3,)


def test_a_message_is_shown_with_what_came_of_it(made: Database) -> None:
    with made.read() as session:
        shown = show_message(session, 1)
        assert shown["taken_from_it"] == {"reports": 1, "orders": 0, "patient events": 0}
        assert shown["reports"] == [1]
        assert shown["segments"][0]["content"].startswith("MSH|")
        odd = show_message(session, 3)
        assert odd["segments"][0]["content"] == "no HL7 \\x1b[31m"
        with pytest.raises(Permanent):
            show_message(session, 99)


def test_a_message_is_exported_as_it_came_and_never_over_a_file(
    made: Database, tmp_path: Path
) -> None:
    target = tmp_path / "message.hl7"
    with made.read() as session:
        assert export_message(session, 1, target)["bytes"] == len(oru())
        assert target.read_bytes() == oru()
        with pytest.raises(Permanent):
            export_message(session, 1, target)
