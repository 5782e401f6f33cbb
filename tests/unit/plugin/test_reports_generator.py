import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from labeling.vocabulary import WHOLE, State
from plugin.simulation.reports import (
    Context,
    GeneratedReport,
    Habits,
    changed,
    corrected,
    preliminary,
    write_report,
)
from plugin.simulation.reports_wording import Voice, Wording, misspell, phrases, with_article
from plugin.simulation.truth import LEVELS, OBSERVATIONS, LevelTruth, SpineTruth, draw_truth

HEALTHY = LevelTruth(0.05, 0.3, 0.05, 0.3)
SURE = Habits(hedged_rate=0, omitted_rate=0, unsaid_rate=0, typo_rate=0, brief_rate=0)


def spine(**findings: LevelTruth) -> SpineTruth:
    levels = dict.fromkeys(LEVELS, HEALTHY)
    return SpineTruth(levels | {k.replace("_", "-"): v for k, v in findings.items()})


def report(seed: int, truth: SpineTruth, habits: Habits = SURE, **kwargs: Any) -> GeneratedReport:
    return write_report(truth, np.random.default_rng(seed), habits=habits, **kwargs)


def counted(habits: Habits, count: int = 100) -> Iterator[tuple[bool, State]]:
    for seed in range(count):
        truth = draw_truth(np.random.default_rng([1, seed]))
        states = report(seed, truth, habits).states
        for observation in OBSERVATIONS:
            for level in LEVELS:
                yield truth.present(observation, level), states[observation][level]


def test_same_seed_gives_the_same_report() -> None:
    truth = draw_truth(np.random.default_rng(3))
    assert report(4, truth, Habits()) == report(4, truth, Habits())
    assert report(4, truth, Habits()).text != report(5, truth, Habits()).text


def test_a_reader_without_doubts_or_omissions_says_the_truth() -> None:
    for present, state in counted(SURE):
        assert state is (State.PRESENT if present else State.ABSENT)


def test_hedged_rate_is_the_share_of_present_findings_that_are_doubted() -> None:
    states = [state for present, state in counted(Habits(hedged_rate=0.3)) if present]
    said = [state for state in states if state is not State.NOT_MENTIONED]
    assert said.count(State.UNCERTAIN) / len(said) == pytest.approx(0.3, abs=0.07)


def test_omitted_observations_are_not_mentioned() -> None:
    text = report(1, spine(), Habits(omitted_rate=1.0, hedged_rate=0))
    assert {s for sites in text.states.values() for s in sites.values()} == {State.NOT_MENTIONED}
    assert text.text


def test_unknown_observations_are_not_mentioned() -> None:
    for seed in range(30):
        found = report(seed, spine(), unknown=frozenset({"stenosis"}))
        assert set(found.states["stenosis"].values()) == {State.NOT_MENTIONED}
        assert found.states["herniation"][WHOLE] is State.ABSENT


def test_findings_of_unknown_degree_get_no_grade() -> None:
    bad = LevelTruth(0.5, 6.0, 0.6, 7.0)
    grades = re.compile(r"\b(mild|moderate|severe|small|large|grade|\d+ mm)", re.IGNORECASE)
    for seed in range(40):
        found = report(seed, spine(L4_L5=bad), Habits(graded=False, hedged_rate=0, typo_rate=0))
        for (observation, site), (start, end) in found.spans.items():
            if found.states[observation][site] is State.PRESENT:
                assert not grades.search(found.text[start:end])


def test_history_claims_nothing() -> None:
    seen = 0
    for seed in range(60):
        found = report(seed, spine(), context=Context(60, "F"))
        assert found.states["herniation"][WHOLE] is State.ABSENT
        seen += bool(re.search(r"Known .* disc herniation|History of spinal stenosis", found.text))
    assert seen


def test_whole_report_follows_the_strongest_statement() -> None:
    found = report(2, spine(L5_S1=LevelTruth(0.5, 6.0, 0.0, 0.0)))
    assert found.states["disc_narrowing"][WHOLE] is State.PRESENT
    assert found.states["stenosis"][WHOLE] is State.ABSENT


def test_a_correction_changes_the_finding_and_says_so() -> None:
    truth = spine(L4_L5=LevelTruth(0.1, 6.0, 0.1, 0.1))
    final = report(8, truth)
    wrong = changed(final, {("herniation", "L4-L5"): State.ABSENT})
    assert wrong.states["herniation"]["L4-L5"] is State.ABSENT
    right = corrected(final, wrong)
    assert right.states == final.states
    assert re.match(r"CORRECTED REPORT|Correction", right.text)
    assert right.text.endswith(final.text)


def test_a_change_leaves_other_levels_as_they_were() -> None:
    truth = spine(L4_L5=LevelTruth(0.1, 6.0, 0.1, 0.1), L1_L2=LevelTruth(0.5, 0.1, 0.1, 0.1))
    final = report(3, truth)
    wrong = changed(final, {("herniation", "L4-L5"): State.ABSENT})
    kept = set(final.text.splitlines()) & set(wrong.text.splitlines())
    assert len(kept) > len(final.text.splitlines()) / 2


def test_a_preliminary_version_is_marked_and_has_no_impression() -> None:
    headings = phrases()["headings"]["impression"]
    for seed in range(20):
        final = report(seed, spine(L4_L5=LevelTruth(0.5, 0.1, 0.1, 0.1)))
        early = preliminary(final)
        assert re.match(r"PRELIMINARY|Provisional", early.text)
        assert not any(f"{each}:" in early.text.upper() for each in headings)
        assert early.states["disc_narrowing"]["L4-L5"] is State.PRESENT


def test_misspelling_spares_levels_negations_and_doubts() -> None:
    text = "L4-L5: possible herniation, without stenosis; slip cannot be excluded. Unremarkable."
    for seed in range(50):
        wrong = misspell(Voice(seed), "x", text, 1.0)
        assert wrong != text
        for kept in ("L4-L5:", "possible", "without", "cannot", "excluded", "Unremarkable"):
            assert kept in wrong


def test_phrases_about_normal_anatomy_name_no_observation() -> None:
    named = re.compile("herniat|stenosis|listhesis|disc height|disc space|canal|slip|align")
    stock = phrases()
    for text in [*stock["normal_anatomy"], *stock["incidental"], *stock["technique"]]:
        assert not named.search(text)


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_every_phrase_can_be_filled(observation: str) -> None:
    wording = Wording(Voice(1))
    for kind, templates in phrases()["observations"][observation].items():
        for template in templates if kind != "grades" else ():
            text = template.replace("{levels}", "L4-L5")
            filled = wording.fill(text, observation, "L4-L5", 5.0)
            assert "{" not in filled


def test_articles() -> None:
    assert with_article("(a) small disc herniation") == "a small disc herniation"
    assert with_article("(a) 8 mm disc extrusion") == "an 8 mm disc extrusion"
    assert with_article("mild loss of disc height") == "mild loss of disc height"
