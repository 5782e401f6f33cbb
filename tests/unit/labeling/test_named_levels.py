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
        ("L3 to S1: bulges.", {"L2-L3", "L3-L4", "L4-L5", "L5-S1"}),
        ("Compression of the L4 and L5 roots.", {"L3-L4", "L4-L5", "L5-S1"}),
        ("Fragment above L5/S1.", ALL),
        ("Bulge at 4/5.", ALL),
        ("Bulges at L3-L4 and below.", ALL),
        ("L1 down to S1: dark.", ALL),
        ("2-level disc disease.", ALL),
        ("The penultimate disc is dark.", ALL),
        ("The intervertebral discs are dark.", ALL),
        ("4th lumbar disc bulges.", ALL),
        ("L45 bulges.", ALL),
        ("A slip of LIV/LV.", ALL),
        ("2-3 mm bulge at L4-L5.", {"L4-L5"}),
        ("L4-L5 and L5-S1 discs bulge.", {"L4-L5", "L5-S1"}),
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
def test_levels_are_told_from_the_words_and_left_open_where_those_are_vague(text, sites):
    assert LevelFinder(SPINE).named(text) == sites


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "L4-L5, " + "at the " * 7000 + "x L5-S1",
        "All levels except " + "at the " * 7000,
        "two " * 12_000,
        "L4-L5. " * 7000,
        "first a a a " * 4000,
        "L4 " * 16_000,
    ],
)
def test_a_hostile_text_is_looked_through_in_no_time(text):
    # Each took minutes to ages while a repetition could be parted in two ways.
    assert LevelFinder(SPINE).named(text) <= ALL


def test_places_that_are_no_levels_always_count_as_named():
    schema = shipped_schema("upper_extremity")
    assert LevelFinder(schema).named("Normal.") == {each.id for each in schema.sites}


def test_a_language_without_cues_leaves_every_site_named():
    pack = load_languages().packs["en"]
    assert NamedSites(SPINE, replace(pack, cues=None)).of("Bulge at L4-L5.") == ALL
    assert NamedSites(SPINE, pack).of("Bulge at L4-L5.") == {"L4-L5"}
    silent = replace(pack.cues, level_vague=())
    assert NamedSites(SPINE, replace(pack, cues=silent)).of("Bulge at L4-L5.") == ALL
