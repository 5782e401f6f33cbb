import re
from pathlib import Path

import pytest

from labeling.decision import decide
from labeling.labeler import LabelResult
from labeling.schema_file import parse_schema, shipped_names, shipped_schema
from labeling.schema_mapping import (
    InvalidMapping,
    load_mapping,
    parse_mapping,
    rolled_up,
    shipped_mapping,
)
from labeling.thresholds import UNCALIBRATED
from labeling.vocabulary import WHOLE, State

CHEST = shipped_schema("chest")
DOCUMENT = (Path(__file__).parents[3] / "deploy/schemas.md").read_text(encoding="utf-8")
MAPPING = """\
schema: chest
title: Mine
findings:
  Lesion: {observations: [lung_lesion, nodule, mass]}
"""


def results(**states):
    return [
        LabelResult(
            each.id, WHOLE, states.get(each.id, State.NOT_MENTIONED), evidence=((0, 1),)
        )
        for each in CHEST.observations
    ]  # fmt: skip


def test_the_fourteen_findings_are_all_mapped():
    mapping = shipped_mapping("chest.gold14", CHEST)
    assert [each.name for each in mapping.findings] == [
        "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
        "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening",
        "Hernia",
    ]  # fmt: skip


def test_what_is_only_implied_does_not_count_where_the_mapping_says_so():
    mapping = shipped_mapping("chest.gold14", CHEST)
    decided = decide(results(pneumonia=State.PRESENT), CHEST, UNCALIBRATED)
    assert {each.observation for each in decided if each.state is State.PRESENT} == {
        "pneumonia",
        "consolidation",
        "lung_opacity",
    }
    states = mapping.states(decided)
    assert states["Pneumonia"] is State.PRESENT
    assert states["Consolidation"] is State.NOT_MENTIONED
    own = decide(results(pneumonia=State.PRESENT, consolidation=State.PRESENT), CHEST, UNCALIBRATED)
    assert mapping.states(own)["Consolidation"] is State.PRESENT


def test_a_finding_is_rolled_up_from_its_kinds():
    mapping = parse_mapping(MAPPING.encode(), "mine.yaml", CHEST)
    assert mapping.states(results(nodule=State.UNCERTAIN)) == {"Lesion": State.UNCERTAIN}
    assert mapping.states(results(mass=State.ABSENT)) == {"Lesion": State.NOT_MENTIONED}


def test_a_finding_is_left_out_where_the_labels_do_not_have_its_observations():
    mapping = parse_mapping(MAPPING.encode(), "mine.yaml", CHEST)
    assert mapping.states(results()[:3]) == {}


@pytest.mark.parametrize(
    ("own", "kinds", "expected"),
    [
        ("absent", ["present"], "present"),
        ("absent", ["uncertain", "stable_unknown"], "uncertain"),
        ("absent", ["stable_unknown"], "absent"),
        ("not_mentioned", ["stable_unknown", "absent"], "stable_unknown"),
        ("not_mentioned", ["absent"], "not_mentioned"),
        ("stable_unknown", ["absent"], "stable_unknown"),
        ("failed", ["present"], "failed"),
        ("not_mentioned", ["failed"], "not_mentioned"),
    ],
)
def test_precedence(own, kinds, expected):
    assert rolled_up([State(own), *map(State, kinds)]) is State(expected)


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("schema: chest", "schema: spine"), 1, "not for the schema 'chest'"),
        (("nodule, mass", "nodule, cavity"), 4, "no such observation: 'cavity'"),
        (("[lung_lesion, nodule, mass]", "[]"), 4, "at least one observation"),
        (("mass]}", "mass], implied: 'no'}"), 4, "findings.Lesion.implied: expected true or false"),
        (("title: Mine", "titel: Mine"), 2, "titel: unknown key"),
        (("\n  Lesion: {observations: [lung_lesion, nodule, mass]}", " {}"), 3, "at least one"),
    ],
)
def test_a_bad_mapping_is_refused_by_line_and_key(change, line, words):
    changed = MAPPING.replace(*change)
    assert changed != MAPPING
    with pytest.raises(InvalidMapping) as caught:
        parse_mapping(changed.encode(), "mine.yaml", CHEST)
    assert f"mine.yaml, line {line}," in str(caught.value)
    assert words in str(caught.value)


def test_mappings_are_found(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(MAPPING)
    assert load_mapping(file, CHEST).title == "Mine"
    with pytest.raises(InvalidMapping, match="cannot be read"):
        load_mapping(tmp_path / "none.yaml", CHEST)
    for name in ("chest.gold15", "../chest.gold14"):
        with pytest.raises(InvalidMapping, match="no mapping named"):
            shipped_mapping(name, CHEST)


def test_the_examples_of_the_document_are_right():
    schema_text, _, mapping_text = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    knee = parse_schema(schema_text.encode(), "knee.yaml")
    assert knee.observation("tear").parents == ("lesion",)
    assert [each.id for each in knee.sites] == ["medial"]
    mapping = parse_mapping(mapping_text.encode(), "registry.yaml", knee)
    assert [each.name for each in mapping.findings] == ["Any_Tear", "Any_Lesion"]


def test_the_document_lists_what_ships():
    assert re.findall(r"^\| `(\w+)` \| (?:MRI|radio|chest)", DOCUMENT, re.MULTILINE) == [
        "spine",
        "neuro",
        "upper_extremity",
        "chest",
    ]
    assert set(shipped_names()) == {"spine", "neuro", "upper_extremity", "chest"}
