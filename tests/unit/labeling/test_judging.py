"""From margins of generated findings to what the margins of an adapted model mean."""

from __future__ import annotations

import random

from labeling.adaptation.judging import bands
from labeling.vocabulary import State

CENTRES = {State.PRESENT: 4.0, State.UNCERTAIN: 0.5, State.ABSENT: -4.0, State.NOT_MENTIONED: -6.0}


def drawn(count=60, moved=0.0):
    chance = random.Random(3)
    return [
        (state, chance.gauss(centre, 0.7) + moved)
        for state, centre in CENTRES.items()
        for _ in range(count)
    ]


def test_the_band_holds_what_is_uncertain_and_neither_of_its_neighbours():
    low, high = bands([{"present whole": drawn()}])["whole"]
    assert -3.5 < low < 0.0
    assert 1.0 < high < 3.0


def test_all_observations_share_a_band_and_sites_have_their_own():
    found = bands(
        [
            {"present whole": drawn(), "present sites": drawn(moved=5.0)},
            {"present whole": drawn(), "mentioned whole": drawn(moved=-50.0)},
        ]
    )
    assert found["whole"][1] < 3.0 < found["sites"][0] + 2.0
    assert found["sites"][0] > 1.0


def test_where_nothing_tells_there_is_none():
    assert bands([{"present whole": [(State.PRESENT, 2.0), (State.ABSENT, -2.0)]}]) == {}
    assert bands([]) == {}
