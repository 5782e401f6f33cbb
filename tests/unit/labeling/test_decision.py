from dataclasses import replace

import pytest

from labeling.decision import NO_SPAN, decide, measured, redecide
from labeling.labeler import NOT_ASKED, LabelResult
from labeling.thresholds import UNCALIBRATED, Threshold, Thresholds
from labeling.vocabulary import WHOLE, Code, LabelSchema, Observation, Site, State

CODE = Code("1", "99TEST", "test")
SITE = Site("L4-L5", "L4-L5", CODE)


def observation(name, *parents, sites=()):
    return Observation(name, name, name, (name,), CODE, sites=sites, parents=parents)


SCHEMA = LabelSchema(
    "test", "test", "MR", (), CODE, (SITE,),
    (
        observation("opacity"),
        observation("consolidation", "opacity"),
        observation("pneumonia", "consolidation"),
        observation("stenosis", sites=("L4-L5",)),
    ),
    "digest",
)  # fmt: skip
FITTED = Thresholds(
    {"stenosis": Threshold(1.0, 2.0, slope=1.0, mention_cut=0.5, fitted_on=50, positives=20)},
    {"stenosis": Threshold(3.0, 3.0, fitted_on=50, positives=20)},
)


def result(margin=None, state=State.NOT_MENTIONED, site=WHOLE, name="stenosis", **values):
    return LabelResult(name, site, state, margin=margin, evidence=((0, 4),), **values)


def decided(*results, thresholds=FITTED):
    return decide(results, SCHEMA, thresholds)


@pytest.mark.parametrize(
    ("margin", "mention", "state"),
    [
        (2.1, None, State.PRESENT),
        (2.0, None, State.UNCERTAIN),
        (1.0, -9.0, State.UNCERTAIN),
        (0.9, 0.5, State.ABSENT),
        (0.9, 0.4, State.NOT_MENTIONED),
        (0.9, None, State.NOT_MENTIONED),
    ],
)
def test_thresholds_make_states_of_margins(margin, mention, state):
    (found,) = decided(result(margin, mention_margin=mention))
    assert found.state is state
    assert found.probability == pytest.approx(1 / (1 + 2.718281828**-margin))
    assert found.detail == ""


@pytest.mark.parametrize("state", [State.PRESENT, State.UNCERTAIN, State.ABSENT])
def test_without_thresholds_the_labelers_own_word_stands_and_says_so(state):
    (found,) = decided(result(9.0, state), thresholds=UNCALIBRATED)
    assert (found.state, found.probability, found.detail) == (state, None, "uncalibrated")


@pytest.mark.parametrize("state", [State.ABSENT, State.NOT_MENTIONED, State.STABLE_UNKNOWN])
def test_below_the_band_the_labelers_own_word_counts(state):
    (found,) = decided(result(-5.0, state))
    assert found.state is state


@pytest.mark.parametrize("state", list(State))
def test_a_labeler_without_margins_keeps_its_states(state):
    (found,) = decided(result(None, state))
    assert found.state is state


def test_a_failed_label_stays_failed():
    (found,) = decided(result(9.0, State.FAILED))
    assert found.state is State.FAILED


def test_no_span_no_present():
    (found,) = decided(replace(result(9.0), evidence=()))
    assert (found.state, found.detail) == (State.UNCERTAIN, NO_SPAN)


@pytest.mark.parametrize(
    ("whole", "site"),
    [(9.0, State.PRESENT), (1.5, State.PRESENT), (0.0, State.UNCERTAIN)],
)
def test_a_site_is_not_present_where_the_whole_report_is_not(whole, site):
    _, found = decided(result(whole), result(9.0, site="L4-L5"))
    assert found.state is site


def test_a_present_child_makes_every_parent_present_with_its_evidence():
    results = [
        result(-3.0, name="opacity"),
        result(-3.0, State.ABSENT, name="consolidation"),
        replace(result(3.0, State.PRESENT, name="pneumonia"), evidence=((7, 9),)),
    ]
    found = decided(*results)
    assert {each.state for each in found} == {State.PRESENT}
    assert {each.evidence for each in found} == {((7, 9),)}
    assert "implied by pneumonia" in found[1].detail
    assert "implied by consolidation" in found[0].detail


def test_a_child_does_not_make_a_parent_present_at_a_site_that_the_whole_denies():
    sites = ("L4-L5",)
    pair = (observation("narrowing", sites=sites), observation("bulge", "narrowing", sites=sites))
    schema = replace(SCHEMA, observations=pair)
    found = decide(
        [
            result(state=State.ABSENT, name="narrowing"),
            result(state=State.NOT_MENTIONED, name="narrowing", site="L4-L5"),
            result(state=State.UNCERTAIN, name="bulge"),
            result(state=State.PRESENT, name="bulge", site="L4-L5"),
        ],
        schema,
        UNCALIBRATED,
    )
    states = {(each.observation, each.site): each.state for each in found}
    assert states["bulge", "L4-L5"] is State.PRESENT
    assert states["narrowing", WHOLE] is State.ABSENT
    assert states["narrowing", "L4-L5"] is State.UNCERTAIN
    again = redecide(found, schema, UNCALIBRATED, UNCALIBRATED)
    assert again == found


def test_stored_results_are_decided_anew_as_if_they_were_read():
    results = [
        result(1.5, State.PRESENT, mention_margin=1.0),
        result(4.0, State.PRESENT, site="L4-L5"),
        result(-3.0, State.ABSENT, name="opacity"),
        result(3.0, State.PRESENT, name="consolidation"),
    ]
    strict = Thresholds({"consolidation": Threshold(5.0, 5.0, fitted_on=9)})
    stored = decided(*results, thresholds=UNCALIBRATED)
    for before, now in ((UNCALIBRATED, FITTED), (FITTED, strict), (strict, FITTED)):
        again = redecide(stored, SCHEMA, now, before)
        assert again is not None
        fresh = decided(*results, thresholds=now)
        assert [(r.state, r.own_state) for r in again] == [(r.state, r.own_state) for r in fresh]
        stored = again


def test_a_label_that_counts_now_but_has_no_words_is_read_again():
    low = replace(result(0.5), evidence=())
    loose = Thresholds({"stenosis": Threshold(0.0, 0.0, fitted_on=9)})
    assert redecide(decided(low), SCHEMA, FITTED, FITTED) is not None
    assert redecide(decided(low), SCHEMA, loose, FITTED) is None
    # Somebody looked already and found none: reading again would find none again.
    assert redecide(decided(low, thresholds=loose), SCHEMA, loose, loose) is not None


def test_a_site_is_only_read_again_where_the_whole_counts_too():
    results = [replace(result(margin, site=site), evidence=()) for margin, site in
               ((0.5, WHOLE), (9.0, "L4-L5"))]  # fmt: skip
    loose = Thresholds(FITTED.whole, {"stenosis": Threshold(8.0, 8.0, fitted_on=9)})
    assert redecide(decided(*results), SCHEMA, loose, FITTED) is not None


def unasked():
    return replace(result(site="L4-L5", detail=NOT_ASKED), evidence=())


@pytest.mark.parametrize(
    ("margin", "mention", "state"),
    [
        (0.0, 1.0, State.ABSENT),
        (0.0, 0.0, State.NOT_MENTIONED),
        (1.5, 1.0, State.NOT_MENTIONED),
        (3.0, 1.0, State.NOT_MENTIONED),
    ],
)
def test_a_site_that_nobody_asked_about_is_denied_with_the_whole(margin, mention, state):
    whole, site = decided(result(margin, mention_margin=mention), unasked())
    assert (site.state, site.margin) == (state, None)
    assert site.evidence == (whole.evidence if state is State.ABSENT else ())
    again = redecide([whole, site], SCHEMA, FITTED, FITTED)
    assert again == [whole, site]


def test_what_a_site_was_denied_for_goes_with_the_denial():
    denied = decided(result(0.0, mention_margin=1.0), unasked())
    stricter = Thresholds({"stenosis": Threshold(1.0, 2.0, mention_cut=2.0, fitted_on=50)})
    again = redecide(denied, SCHEMA, stricter, FITTED)
    assert again is not None
    assert [each.state for each in again] == [State.NOT_MENTIONED, State.NOT_MENTIONED]
    assert again[1].evidence == ()


def test_an_unasked_site_that_a_file_tells_of_is_measured_as_not_mentioned():
    _, site = decided(result(0.0, mention_margin=1.0), unasked())
    assert site.state is State.ABSENT
    assert measured(replace(site, own_state=None)) == unasked()
