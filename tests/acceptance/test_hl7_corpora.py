"""Every shared HL7 file through the port of a node: all is accounted for, and nothing harms."""

from __future__ import annotations

import pytest

from tests.acceptance.hl7_corpora import CORPORA, Outcome, run, show, summary

# Files that their makers meant to be no message, or one that cannot be used, and why that is so.
DELIBERATE = {
    "mirth/server/tests/test-xxe-example.xml": "does not begin with an MSH segment",
    "mirth/server/tests/test-xxe-hl7-example.xml": "does not begin with an MSH segment",
    "mirth/server/tests/test-dtd": "does not begin with an MSH segment",
    "mirth/server/tests/test-hl7-single-segment-output.txt": "does not begin with an MSH segment",
    "mirth/server/tests/test-hl7-whitespace-input.txt": "no ORC or OBR segment",
    "mirth/server/tests/filereader/nonbatch/nested/07.hl7": "has no issuer",
    "mirth/simplesender/samples/hl7.txt": "does not begin with an MSH segment",
}
EMPTY = [
    "mirth/server/tests/filereader/containsempty/empty/.keep",
    "mirth/server/tests/filereader/emptyfile/emptyfile.txt",
]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    if not CORPORA.is_dir():
        pytest.skip("the shared data folder has no hl7")
    return run()


def test_every_message_is_accounted_for(outcome: Outcome) -> None:
    assert outcome.lost == []
    assert len(outcome.messages) > 400
    assert all(each.answer != "closed" for each in outcome.messages)


def test_no_message_in_the_files_was_passed_over(outcome: Outcome) -> None:
    sent = sum(each.content.startswith(b"MSH") for each in outcome.messages)
    assert sent >= outcome.headers > 400


def test_the_listener_lives_and_takes_a_good_message(outcome: Outcome) -> None:
    assert outcome.same_listener
    assert outcome.good_after


def test_the_deliberate_bad_files_are_named_with_the_reason(outcome: Outcome) -> None:
    named = outcome.bad_files()
    for name, reason in DELIBERATE.items():
        assert reason in named.get(name, "(taken)"), name
    assert outcome.empty_files() == EMPTY


def test_the_radiology_feed_is_read_right_under_its_learned_profile(outcome: Outcome) -> None:
    assert outcome.right >= 0.99 * outcome.good > 200


def test_the_tables_can_be_shown(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    show(outcome)
    assert "message by message" in capsys.readouterr().out
    assert summary(outcome)["passed"]
