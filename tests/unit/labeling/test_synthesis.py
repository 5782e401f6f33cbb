"""Wording files, the reading of claims, and what becomes of a sentence on paper."""

import json
import random

import pytest

from labeling.schema_file import shipped_names, shipped_schema
from labeling.student.examples import read_examples
from labeling.synthesis.__main__ import main
from labeling.synthesis.claims import Claim, Statement, Written, severities_in, truth_of
from labeling.synthesis.files import label_source, reference_file
from labeling.synthesis.generator import generate
from labeling.synthesis.ledger import Ledger
from labeling.synthesis.noise import Habits, typed, wrapped
from labeling.synthesis.nouns import is_plural
from labeling.synthesis.phrasings import InvalidWording
from labeling.synthesis.wording_file import load_wording
from labeling.vocabulary import WHOLE, State

SPINE = shipped_schema("spine")
SITES = [each.id for each in SPINE.sites]
PRESENT, ABSENT, UNCERTAIN = State.PRESENT, State.ABSENT, State.UNCERTAIN


def said(*claims, addendum=()):
    written = [Written(Claim(*each), (10 * i, 10 * i + 5)) for i, each in enumerate(claims)]
    written += [
        Written(Claim(*each), (1000 + 10 * i, 1005 + 10 * i), addendum=True)
        for i, each in enumerate(addendum)
    ]
    return truth_of(SPINE, written)


def test_a_denial_without_a_level_holds_where_nothing_else_is_said():
    truth = said(("stenosis", WHOLE, ABSENT), ("stenosis", "L4-L5", PRESENT))
    assert truth.states["stenosis", WHOLE] is PRESENT
    assert truth.states["stenosis", "L4-L5"] is PRESENT
    assert truth.states["stenosis", "L1-L2"] is ABSENT
    assert truth.states["herniation", WHOLE] is State.NOT_MENTIONED


def test_a_finding_without_a_level_is_at_none():
    truth = said(("stenosis", WHOLE, PRESENT))
    assert {truth.states["stenosis", site] for site in SITES} == {State.NOT_MENTIONED}


def test_findings_and_impression_that_gainsay_each_other_leave_it_present():
    for first, second in ((PRESENT, ABSENT), (ABSENT, PRESENT)):
        truth = said(("stenosis", "L4-L5", first), ("stenosis", "L4-L5", second))
        assert truth.states["stenosis", "L4-L5"] is PRESENT
        assert len(truth.evidence["stenosis", "L4-L5"]) == 1


def test_an_addendum_replaces_what_was_said_of_the_same_levels():
    before = (("herniation", "L4-L5", PRESENT), ("herniation", "L5-S1", PRESENT))
    truth = said(*before, addendum=[("herniation", "L4-L5", ABSENT)])
    assert truth.states["herniation", "L4-L5"] is ABSENT
    assert truth.states["herniation", "L5-S1"] is PRESENT
    truth = said(*before, addendum=[("herniation", WHOLE, ABSENT)])
    assert truth.states["herniation", WHOLE] is ABSENT
    assert truth.states["herniation", "L5-S1"] is ABSENT


@pytest.mark.parametrize(("child", "parent"), [(PRESENT, PRESENT), (UNCERTAIN, UNCERTAIN)])
def test_a_child_speaks_for_its_parent(child, parent):
    truth = said(("cauda_equina_compression", WHOLE, child))
    assert truth.states["stenosis", WHOLE] is parent
    assert truth.own["stenosis", WHOLE] is State.NOT_MENTIONED
    truth = said(("cauda_equina_compression", WHOLE, ABSENT))
    assert truth.states["stenosis", WHOLE] is State.NOT_MENTIONED


def test_the_worst_severity_counts_and_the_longest_name_wins():
    herniation = SPINE.observation("herniation")
    assert severities_in("a moderate-sized disc herniation", herniation) == ["moderate"]
    slip = SPINE.observation("spondylolisthesis")
    assert severities_in("Meyerding grade III slip", slip) == ["meyerding_3"]
    claims = [("herniation", "L4-L5", PRESENT, words) for words in ("small", "large extrusion")]
    assert said(*claims).severities["herniation", "L4-L5"] == "large"


def test_a_ledger_refuses_what_contradicts():
    ledger = Ledger(SPINE)
    ledger.add(Statement("", (Claim("stenosis", "L4-L5", PRESENT),)))
    assert not ledger.fits([Claim("stenosis", WHOLE, ABSENT)])
    assert not ledger.fits([Claim("stenosis", "L4-L5", ABSENT)])
    assert ledger.fits([Claim("stenosis", "L1-L2", ABSENT)])
    ledger.add(Statement("", (Claim("cauda_equina_compression", WHOLE, ABSENT),)))
    assert not ledger.fits([Claim("cauda_equina_compression", WHOLE, PRESENT)])


def test_what_lines_and_typing_do_to_a_sentence():
    text = "The spinal canal is narrowed at several levels of the lumbar spine."
    broken = wrapped(text, 20)
    assert len(broken) == len(text)
    assert broken.replace("\n", " ") == text
    habits = Habits(typos=1.0, stops=False)
    mistyped = typed("No definite stenosis.", habits, random.Random(1), {"definite"}, {})
    assert mistyped.startswith("No definite ")
    assert not mistyped.endswith((".", " stenosis"))


@pytest.mark.parametrize(
    ("phrase", "plural"),
    [("bone metastases", True), ("stenosis", False), ("loss of disc heights", False),
     ("bullae", True), ("disc bulges", True)],
)  # fmt: skip
def test_the_number_of_a_noun(phrase, plural):
    assert is_plural(phrase) is plural


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_wording_can_be_used(name):
    assert len(load_wording(shipped_schema(name)).digest) == 64


def own(tmp_path, text):
    path = tmp_path / "spine.yaml"
    path.write_text("schema: spine\n" + text)
    return path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("observations: {stenosis: {says: {train: ['Canal narrow.'], test: ['canal  NARROW']}}}",
         "line 2, .*stands in train, too"),
        ("observations: {nothing: {}}", "no observation 'nothing'"),
        ("observations: {stenosis: {says: {train: ['A {what}.'], test: []}}}", "placeholder"),
        ("observations: {stenosis: {severities: {huge: {train: [], test: []}}}}", "no step 'huge'"),
        ("observations: {stenosis: {says: {train: []}}}", "missing key test"),
        ("observations: {}\njoint: {train: [{text: A, absent: [x]}], test: []}", "no such obs"),
        ("observations: {}\nschemas: []", "unknown key"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_wording_file_is_named(tmp_path, text, reason):
    with pytest.raises(InvalidWording, match=reason):
        load_wording(SPINE, path=own(tmp_path, text))


def test_a_wording_file_is_checked_from_the_command_line(tmp_path, capsys):
    assert main(["check", str(own(tmp_path, "observations: {}"))]) == 0
    assert "usable for spine" in capsys.readouterr().out
    assert main(["check", str(own(tmp_path, "observations: {a: 1}"))]) == 1


def test_an_own_wording_file_words_the_reports(tmp_path):
    path = own(tmp_path, "observations: {cancer: {says: {train: ['Zebra.'], test: ['Quagga.']}}}")
    texts = " ".join(each.text for each in generate(SPINE, 80, seed=1, wording=path))
    assert "zebra" in texts.casefold()
    assert "quagga" not in texts.casefold()


def test_there_is_no_wording_for_a_language_that_none_ships_for():
    with pytest.raises(InvalidWording, match="no wording for the language 'xx'"):
        next(generate(SPINE, 1, seed=1, language="xx"))


def test_reports_are_written_as_labels_to_learn_from_and_to_judge_by(tmp_path):
    reports = list(generate(SPINE, 12, seed=2, split="test"))
    source = tmp_path / "reports.jsonl"
    source.write_bytes(label_source(reports, SPINE))
    examples = read_examples(source, SPINE)
    assert [each.text for each in examples] == [each.text for each in reports]
    states = {place: frozenset({state}) for place, state in reports[0].states.items()}
    assert {p: a for p, a in examples[0].allowed.items() if len(a) == 1}.items() <= states.items()
    row = json.loads(source.read_text().splitlines()[0])
    assert row["split"] == "test"
    lines = reference_file(reports).decode().splitlines()
    assert len(lines) == 1 + sum(len(each.states) for each in reports)


@pytest.mark.parametrize("name", shipped_names())
def test_every_observation_has_its_share_of_every_state(name):
    schema = shipped_schema(name)
    reports = list(generate(schema, 260, seed=5))
    for observation in schema.observations:
        states = [each.states[observation.id, WHOLE] for each in reports]
        for state in (PRESENT, ABSENT, UNCERTAIN):
            assert state in states, (observation.id, state)
