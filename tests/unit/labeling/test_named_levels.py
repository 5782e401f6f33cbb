"""Which levels a report may speak of: nothing is asked about the others."""

from dataclasses import replace

import pytest

from labeling.language import load_languages
from labeling.rules.levels import LevelFinder
from labeling.schema_file import shipped_schema
from labeling.token_scores.levels import NamedSites

SPINE = shipped_schema("spine")
ALL = {each.id for each in SPINE.sites}


@pytest.mark.parametrize(
    ("text", "sites"),
    [
        ("Narrow canal at L4-L5.", {"L4-L5"}),
        ("Discs L3/4, 4/5 and 5/1 bulge.", ALL),
        ("L3 to S1: bulges.", {"L3-L4", "L4-L5", "L5-S1"}),
        ("L4 has moved backwards on L5.", {"L3-L4", "L4-L5", "L5-S1"}),
        ("Haemangioma of L1.", {"L1-L2"}),
        ("No stenosis at any level except L5-S1.", ALL),
        ("Bulge at L4-L5. The remaining levels are normal.", ALL),
        ("Bulge at L4-L5, no further bulge.", ALL),
        ("Multilevel bulges, most marked at L4-L5.", ALL),
        ("The lower two discs are dark.", ALL),
        ("The lumbosacral disc is dark.", ALL),
        ("The 4-5 disc is dark.", ALL),
        ("Bulge at C5-C6.", set()),
        ("The canal is narrow.", set()),
    ],
)
def test_what_a_text_may_speak_of_holds_every_level_that_it_can_mean(text, sites):
    assert LevelFinder(SPINE).named(text) == sites


def test_places_that_are_no_levels_always_count_as_named():
    schema = shipped_schema("upper_extremity")
    assert LevelFinder(schema).named("Normal.") == {each.id for each in schema.sites}


def test_a_language_without_cues_leaves_every_site_named():
    pack = load_languages().packs["en"]
    assert NamedSites(SPINE, replace(pack, cues=None)).of("Bulge at L4-L5.") == ALL
    assert NamedSites(SPINE, pack).of("Bulge at L4-L5.") == {"L4-L5"}
