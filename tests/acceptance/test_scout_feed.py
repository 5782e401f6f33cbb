"""A profile that was learned from a real sender's sample reads its reports right."""

from __future__ import annotations

import pytest

from tests.acceptance.scout_feed import FEED, Expected, expected_of, halves, learned, score


@pytest.fixture(scope="module")
def messages() -> list[Expected]:
    if not FEED.is_dir():
        pytest.skip("the shared data folder has no scout_synthetic_rad")
    return list(expected_of(FEED))


def test_the_oracle_sees_the_whole_feed(messages: list[Expected]) -> None:
    good = [each for each in messages if each.is_good]
    assert len(good) > 0.9 * len(messages) > 200
    assert {each.status for each in good} == {"F", "P"}
    assert len({each.accession for each in messages}) == len(messages)


def test_learned_from_the_sample_alone(messages: list[Expected]) -> None:
    found = score(learned(messages), messages)
    assert found.passed, found


def test_learned_from_one_half_it_reads_the_other(messages: list[Expected]) -> None:
    one, other = halves(messages)
    assert score(learned(one), other).passed
    assert score(learned(other), one).passed
