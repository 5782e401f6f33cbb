import subprocess
import sys

import pytest

from labeling.schema_file import parse_schema, shipped_schema
from labeling.vocabulary import WHOLE, State
from tests.labeling_builders import rules_of
from tests.unit.labeling.test_schema_file import SMALL

LABELER = rules_of(shipped_schema("spine"))
LEVELS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")


def states(text, observation):
    """Return the states other than not_mentioned, by site."""
    return {
        each.site: each.state.value
        for each in LABELER.label_report(text)
        if each.observation == observation and each.state is not State.NOT_MENTIONED
    }


def everywhere(state):
    return dict.fromkeys((WHOLE, *LEVELS), state)


P, U, A, S = "present", "uncertain", "absent", "stable_unknown"


@pytest.mark.parametrize(
    ("text", "observation", "expected"),
    [
        ("L4/5 herniation.", "herniation", {WHOLE: P, "L4-L5": P}),
        ("Disc prolapse at L5S1.", "herniation", {WHOLE: P, "L5-S1": P}),
        ("Stenosis at L3-L4, L4-L5 and L5-S1.", "stenosis",
         {WHOLE: P, "L3-L4": P, "L4-L5": P, "L5-S1": P}),
        ("Disc space narrowing L1-L2 to L3-L4.", "disc_narrowing",
         {WHOLE: P, "L1-L2": P, "L2-L3": P, "L3-L4": P}),
        ("Narrowed discs at L3/4, 4/5.", "disc_narrowing", {WHOLE: P, "L3-L4": P, "L4-L5": P}),
        ("Grade 1 slip of L4 on L5.", "spondylolisthesis", {WHOLE: P, "L4-L5": P}),
        ("Multilevel disc narrowing.", "disc_narrowing", {WHOLE: P}),
        ("T12-L1: herniation.", "herniation", {WHOLE: P}),
        ("C5-C6 herniation.", "herniation", {}),
        # denial and its scope
        ("No herniation.", "herniation", everywhere(A)),
        ("No disc herniation, severe spinal stenosis, or slip.", "stenosis", everywhere(A)),
        ("No herniation, mild stenosis at L4-L5.", "stenosis", {WHOLE: P, "L4-L5": P}),
        ("No herniation but stenosis at L4-L5.", "stenosis", {WHOLE: P, "L4-L5": P}),
        ("Herniation, stenosis and slip are not seen.", "herniation", everywhere(A)),
        ("Bulge at L4-L5 without stenosis.", "stenosis", {WHOLE: A, "L4-L5": A}),
        ("No stenosis at any level.", "stenosis", everywhere(A)),
        ("The canal is not narrowed.", "stenosis", everywhere(A)),
        ("Stenosis: none.", "stenosis", everywhere(A)),
        ("Loss of normal disc height at L2-L3.", "disc_narrowing", {WHOLE: P, "L2-L3": P}),
        ("No change in the stenosis at L3-L4.", "stenosis", {WHOLE: P, "L3-L4": P}),
        ("The L4-L5 herniation has resolved.", "herniation", {WHOLE: A, "L4-L5": A}),
        # the normal opposite
        ("Disc heights are preserved.", "disc_narrowing", everywhere(A)),
        ("Disc height is not preserved at L4-L5.", "disc_narrowing", {WHOLE: P, "L4-L5": P}),
        ("Normal alignment.", "spondylolisthesis", everywhere(A)),
        ("Abnormal alignment.", "spondylolisthesis", {}),
        ("The canal and foramina are patent.", "stenosis", everywhere(A)),
        # doubt
        ("Possible herniation at L5-S1.", "herniation", {WHOLE: U, "L5-S1": U}),
        ("Stenosis at L4-L5 cannot be excluded.", "stenosis", {WHOLE: U, "L4-L5": U}),
        ("?herniation L4/5", "herniation", {WHOLE: U, "L4-L5": U}),
        ("No severe stenosis.", "stenosis", {WHOLE: U}),
        # levels
        ("L3-L4: Unremarkable.", "stenosis", {WHOLE: A, "L3-L4": A}),
        ("L4-L5: herniation.\nRemaining levels are normal.", "herniation",
         {WHOLE: P, "L1-L2": A, "L2-L3": A, "L3-L4": A, "L4-L5": P, "L5-S1": A}),
        ("At L3-L4 there is slip and at L4-L5 severe stenosis.", "stenosis",
         {WHOLE: P, "L4-L5": P}),
        ("Stenosis at L3-L4 and slip at L4-L5.", "spondylolisthesis", {WHOLE: P, "L4-L5": P}),
        ("L4-L5: Bulge. Severe stenosis. No slip.", "stenosis", {WHOLE: P, "L4-L5": P}),
        ("L4-L5:\nBulge.\nSevere stenosis.", "stenosis", {WHOLE: P, "L4-L5": P}),
        ("Disc heights are preserved at all levels except L4-L5.", "disc_narrowing",
         {WHOLE: A, "L1-L2": A, "L2-L3": A, "L3-L4": A, "L5-S1": A}),
        ("Findings at L4-L5 are unchanged.", "stenosis", {WHOLE: S, "L4-L5": S}),
        # what never labels
        ("HISTORY: L4-L5 herniation.\nFINDINGS: Normal marrow.", "herniation", {}),
        ("Scan to rule out herniation.", "herniation", {}),
        ("Hiatal herniation.", "herniation", {}),
        ("Renal artery stenosis.", "stenosis", {}),
        ("The kidneys are normal.", "stenosis", {}),
        # an addendum replaces
        ("FINDINGS: L4-L5 herniation.\nADDENDUM: No herniation at L4-L5.", "herniation",
         {WHOLE: A, "L4-L5": A}),
        # spelling
        ("Spondylolithesis of L5 on S1.", "spondylolisthesis", {WHOLE: P, "L5-S1": P}),
        ("Disc hernaition at L4-5", "herniation", {WHOLE: P, "L4-L5": P}),
    ],
)  # fmt: skip
def test_sentences(text, observation, expected):
    assert states(text, observation) == expected


def test_silence_is_not_mentioned_and_never_absent():
    results = LABELER.label_report("The conus is normal.")
    assert len(results) == 6 * 6 + 2
    assert {each.state for each in results} == {State.NOT_MENTIONED}
    assert not any(each.evidence for each in results)


def test_evidence_is_the_sentence():
    text = "HISTORY: herniation.\nFINDINGS: Bulge at L3-L4. Herniation at L4-L5."
    result = next(r for r in LABELER.label_report(text) if r.state is State.PRESENT)
    assert result.evidence
    assert text[slice(*result.evidence[0])] == "Herniation at L4-L5."
    assert result.probability is None
    assert result.margin == 2.0  # an order of states, not a measure


def test_an_unreadable_report_fails_with_a_reason():
    results = LABELER.label_report("")
    assert {each.state for each in results} == {State.FAILED}
    assert {each.detail for each in results} == {"the report is empty"}


def test_one_endless_sentence_is_read_in_bounded_time():
    results = LABELER.label_report("no stenosis the " * 300)
    assert results[12].state is State.ABSENT


def test_a_schema_without_rules_is_read_by_its_synonyms():
    labeler = rules_of(parse_schema(SMALL.encode(), "knee.yaml"))
    results = labeler.label_report("There is a meniscal tear of the medial meniscus.")
    assert [(r.site, r.state.value) for r in results] == [(WHOLE, P), ("medial", P)]
    assert labeler.model_digest != LABELER.model_digest


def test_rules_and_labelers_load_no_heavy_library():
    code = "import labeling.rules.labeler, labeling.labeler, labeling.runs, sys; " + (
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("text", "observation", "severity", "locations"),
    [
        ("Mild stenosis at L4-L5.", "stenosis", "mild", ()),
        ("Mild to moderate stenosis at L4-L5.", "stenosis", "moderate", ()),
        ("Mild left foraminal stenosis and severe right foraminal stenosis at L4-L5.", "stenosis",
         "severe", ("foraminal", "left", "right")),
        ("Mild bulge with severe bilateral foraminal narrowing at L4-L5.", "stenosis", "severe",
         ("bilateral", "foraminal", "left", "right")),
        ("Stenosis has mildly increased at L4-L5.", "stenosis", "", ()),
        ("Moderate stenosis at L3-L4. Severe stenosis at L4-L5.", "stenosis", "severe", ()),
        ("Grade I anterolisthesis of L4 on L5.", "spondylolisthesis", "meyerding_1", ()),
        ("No severe herniation, left or right.", "herniation", "", ()),
        ("No stenosis.", "stenosis", "", ()),
    ],
)  # fmt: skip
def test_severity_and_places_are_those_of_the_clause(text, observation, severity, locations):
    whole = next(
        each
        for each in LABELER.label_report(text)
        if (each.observation, each.site) == (observation, WHOLE)
    )
    assert (whole.severity, whole.locations) == (severity, locations)


def test_margins_are_an_order_of_states():
    said = {
        P: "Stenosis.",
        U: "Possible stenosis.",
        S: "FINDINGS: Unchanged.",
        "not_mentioned": "Normal heart size is seen.",
        A: "No stenosis.",
    }
    margins = []
    for state, text in said.items():
        labels = LABELER.label_report(text)
        whole = next(e for e in labels if (e.observation, e.site) == ("stenosis", WHOLE))
        assert whole.state == state
        margins.append(whole.margin)
    assert margins == sorted(set(margins), reverse=True)


def test_a_second_sentence_that_says_the_same_is_evidence_too():
    text = "FINDINGS: Stenosis at L4-L5.\nIMPRESSION: Canal stenosis L4-L5."
    whole = next(
        e for e in LABELER.label_report(text) if (e.observation, e.site) == ("stenosis", WHOLE)
    )
    assert [text[a:b] for a, b in whole.evidence] == ["Stenosis at L4-L5.", "Canal stenosis L4-L5."]
    assert whole.margin == 2.5
