"""Reports of given truth: they say it, with a reader's doubts and omissions, and no more."""

import datetime as dt
import random
import re

import pytest

from labeling.schema_file import shipped_schema
from labeling.synthesis.facts import InvalidFindings
from labeling.synthesis.generator import Findings, write
from labeling.synthesis.given import Context, Reader
from labeling.synthesis.noise import Habits
from labeling.synthesis.nouns import article
from labeling.vocabulary import WHOLE, State

SPINE = shipped_schema("spine")
LEVELS = [each.id for each in SPINE.sites]
OBSERVATIONS = ("disc_narrowing", "herniation", "stenosis", "spondylolisthesis")
PRESENT, ABSENT, UNCERTAIN = State.PRESENT, State.ABSENT, State.UNCERTAIN
CLEAN = Habits()
SAID = ("clinical",)


def states(*found, observations=OBSERVATIONS):
    """All is absent at every level but what is named."""
    places = [(observation, level) for observation in observations for level in LEVELS]
    return {place: PRESENT if place in found else ABSENT for place in places}


def drawn(seed):
    chance = random.Random(seed)
    return {place: PRESENT if chance.random() < 0.2 else ABSENT for place in states()}


def report(seed, given, **named):
    findings = given if isinstance(given, Findings) else Findings(given)
    return write(SPINE, findings, name=f"report {seed}", split="test", **named)


def test_the_same_name_gives_the_same_report():
    given = drawn(3)
    assert report(4, given) == report(4, given)
    assert report(4, given).text != report(5, given).text


def test_a_reader_without_doubts_or_omissions_says_the_truth():
    for seed in range(40):
        given = drawn(seed)
        found = report(seed, given)
        assert {place: found.states[place] for place in given} == given, found.style


def test_of_what_is_not_given_nothing_is_said():
    for seed in range(30):
        given = states(("herniation", "L4-L5"), observations=("herniation", "disc_narrowing"))
        found = report(seed, given)
        said = {
            observation for (observation, _), s in found.states.items() if s in {PRESENT, ABSENT}
        }
        assert said == {"herniation", "disc_narrowing"}


def test_the_share_of_doubts_is_that_of_the_reader():
    said = []
    for seed in range(100):
        given = drawn(seed)
        found = report(seed, given, reader=Reader(hedged=0.3))
        said += [found.states[place] for place, state in given.items() if state is PRESENT]
    assert said.count(UNCERTAIN) / len(said) == pytest.approx(0.3, abs=0.07)


def test_a_reader_who_omits_everything_writes_a_report_all_the_same():
    for seed in range(10):
        found = report(seed, states(), reader=Reader(omitted=1.0))
        assert set(found.states.values()) == {State.NOT_MENTIONED}
        assert found.text.strip()


def test_sites_without_a_finding_can_go_unnamed_beside_one_with_it():
    found = report(2, states(("stenosis", "L4-L5")), reader=Reader(unsaid=1.0))
    assert found.states["stenosis", "L4-L5"] is PRESENT
    assert found.states["stenosis", "L1-L2"] is State.NOT_MENTIONED
    assert found.states["herniation", "L1-L2"] is ABSENT


def test_grades_and_sizes_are_named_where_they_are_known():
    bad = [(observation, "L4-L5") for observation in OBSERVATIONS]
    for seed in range(60):
        found = report(seed, states(*bad), typing=CLEAN)
        assert not found.severities
        for place in bad:
            for start, end in found.evidence[place]:
                assert not re.search(r"\d mm|\bgrade\b", found.text[start:end], re.IGNORECASE)
    graded = Findings(
        states(*bad), {("stenosis", "L4-L5"): "severe"}, {("herniation", "L4-L5"): 8.2}
    )
    texts = [report(seed, graded, typing=CLEAN) for seed in range(60)]
    assert {each.severities.get(("stenosis", "L4-L5")) for each in texts} == {None, "severe"}
    sizes = {size for each in texts for size in re.findall(r"(\d+) mm", each.text)}
    assert sizes == {"8"}


def test_other_findings_change_their_own_sentences_and_leave_the_others():
    found = [("herniation", "L4-L5"), ("disc_narrowing", "L1-L2"), ("stenosis", "L2-L3")]
    kept = total = 0
    for seed in range(30):
        right, wrong = (
            report(seed, given, styles=SAID, typing=CLEAN)
            for given in (states(*found), states(*found[1:]))
        )
        assert wrong.states["herniation", "L4-L5"] is ABSENT
        sentences = [re.findall(r"[^.\n]+", each.text) for each in (right, wrong)]
        kept += len(set(sentences[0]) & set(sentences[1]))
        total += len(set(sentences[0]))
    assert kept > total / 2


def test_words_before_everything_else_claim_nothing_and_move_the_evidence():
    note = "CORRECTED REPORT. The herniation at L1-L2 was wrong."
    for seed in range(20):
        final = report(seed, drawn(seed))
        noted = report(seed, drawn(seed), opening=note)
        assert noted.text == f"{note}\n\n{final.text}"
        assert noted.states == final.states
        quoted = [
            [each.text[start:end] for spans in each.evidence.values() for start, end in spans]
            for each in (final, noted)
        ]
        assert quoted[0] == quoted[1]


def test_a_report_that_is_not_concluded_has_no_impression():
    headings = re.compile(
        r"^(impression|conclusion|opinion|summary)\b", re.IGNORECASE | re.MULTILINE
    )
    concluded = 0
    for seed in range(40):
        given = states(("disc_narrowing", "L4-L5"))
        concluded += bool(headings.search(report(seed, given).text))
        early = report(seed, given, concluded=False)
        assert not headings.search(early.text)
        assert early.states["disc_narrowing", "L4-L5"] is PRESENT
    assert concluded


def test_what_is_known_of_the_patient_is_said_and_nothing_else():
    ages, dates, findings = set(), set(), states()
    known = Context(61, "F", dt.date(2019, 8, 23))
    for seed in range(120):
        text = report(seed, findings, context=known, styles=SAID, typing=CLEAN).text
        ages |= set(re.findall(r"(\d+) y/o (\w+)", text))
        dates |= set(re.findall(r"\b[\d./-]*20\d\d[\d./-]*", text))
        assert "2019" in text
        unknown = report(seed, findings, styles=SAID, typing=CLEAN).text
        assert not re.search(r"\d y/o|\b20\d\d\b", unknown)
    assert ages <= {("61", "female"), ("61", "woman")}
    assert ages
    assert {each.rstrip(".") for each in dates} == {"23.08.2019", "2019-08-23", "23/08/2019"}


def test_a_history_claims_nothing():
    named = 0
    for seed in range(60):
        found = report(seed, states(), styles=SAID, typing=CLEAN, context=Context(60, "F"))
        assert found.states["herniation", WHOLE] is ABSENT
        named += bool(re.search(r"Was treated for|Any |concern about|query ", found.text))
    assert named


def test_the_whole_is_the_strongest_of_the_sites():
    found = report(1, states(("herniation", "L5-S1")) | {("herniation", "L1-L2"): UNCERTAIN})
    assert found.states["herniation", WHOLE] is PRESENT
    assert found.states["stenosis", WHOLE] is ABSENT
    whole = report(1, {("cancer", WHOLE): UNCERTAIN, ("herniation", WHOLE): ABSENT})
    assert whole.states["cancer", WHOLE] is UNCERTAIN
    assert whole.states["herniation", "L4-L5"] is ABSENT


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({("herniation", "C4-C5"): PRESENT}, "no report can say present"),
        ({("herniation", WHOLE): State.FAILED}, "no report can say failed"),
        ({("herniation", WHOLE): ABSENT, ("herniation", "L4-L5"): PRESENT}, "not at each site"),
        ({("cauda_equina_compression", WHOLE): PRESENT, ("stenosis", WHOLE): ABSENT}, "stenosis"),
    ],
)
def test_what_no_report_can_say_is_refused(given, reason):
    with pytest.raises(InvalidFindings, match=reason):
        report(1, given)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("small herniation", "a"), ("extrusion", "an"), ("8 mm extrusion", "an"), ("ulcer", "an")],
)
def test_articles(words, expected):
    assert article(words) == expected
