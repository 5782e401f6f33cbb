from labeling.adaptation.lessons import MENTIONED, NONE, PRESENT, SURE, Truth, token_scores
from labeling.language import load_languages
from labeling.schema_file import narrowed, shipped_schema
from labeling.vocabulary import WHOLE, State

SCHEMA = narrowed(shipped_schema("spine"), ("herniation", "stenosis"))
SITES = [each.id for each in SCHEMA.sites]


WORDS = "L1-L2, L2-L3, L3-L4, L4-L5, L5-S1"


def lessons_of(states, words=WORDS):
    course = token_scores(SCHEMA, load_languages().packs["en"], "token_scores_brief")
    everywhere = {
        (each.id, site): State.NOT_MENTIONED
        for each in SCHEMA.observations
        for site in (WHOLE, *SITES)
    }
    found = course.lessons(Truth(words, everywhere | states), 0.6)
    return {(*each.place, each.kind): each for each in found}


def test_each_place_is_asked_whether_it_is_found_and_whether_it_is_mentioned():
    lessons = lessons_of({("stenosis", WHOLE): State.PRESENT, ("stenosis", "L4-L5"): State.PRESENT})
    assert len(lessons) == 2 * 2 * 6
    assert lessons["stenosis", "L4-L5", PRESENT].target == SURE
    assert lessons["stenosis", "L3-L4", PRESENT].target == NONE
    assert lessons["stenosis", "L4-L5", MENTIONED].target == SURE
    assert lessons["herniation", WHOLE, MENTIONED].target == NONE


def test_levels_that_the_words_do_not_name_are_not_asked_about():
    lessons = lessons_of({("stenosis", "L4-L5"): State.PRESENT}, "Narrow canal at L4-L5.")
    assert {site for _, site, _ in lessons} == {WHOLE, "L4-L5"}


def test_an_uncertain_finding_is_as_much_yes_as_is_asked():
    lessons = lessons_of({("stenosis", WHOLE): State.UNCERTAIN})
    assert lessons["stenosis", WHOLE, PRESENT].target == (0.6, 0.4)


def test_where_a_finding_is_not_is_asked_more_often_where_it_is_elsewhere():
    there = {("stenosis", WHOLE): State.PRESENT, ("stenosis", "L4-L5"): State.PRESENT}
    lessons = lessons_of({**there, ("stenosis", "L2-L3"): State.ABSENT})
    elsewhere = lessons["stenosis", "L3-L4", PRESENT].weight
    assert elsewhere == 3 * lessons["herniation", "L3-L4", PRESENT].weight
    assert lessons["stenosis", "L2-L3", PRESENT].weight == elsewhere
    assert lessons["stenosis", "L4-L5", PRESENT].weight > elsewhere


def test_a_finding_without_a_site_is_at_no_other_site():
    unplaced = lessons_of({("stenosis", WHOLE): State.PRESENT})
    assert unplaced["stenosis", "L3-L4", PRESENT].weight == 1.0
    assert unplaced["stenosis", WHOLE, PRESENT].weight == 8.0


def test_what_has_not_changed_is_not_asked_whether_it_is_found():
    lessons = lessons_of({("stenosis", WHOLE): State.STABLE_UNKNOWN})
    assert ("stenosis", WHOLE, PRESENT) not in lessons
    assert lessons["stenosis", WHOLE, MENTIONED].target == SURE
