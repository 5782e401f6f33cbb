import pytest

from labeling.schema_file import (
    InvalidSchema,
    load_schema,
    narrowed,
    parse_schema,
    schema_of,
    shipped_schema,
)
from labeling.settings import LabelingSettings
from labeling.vocabulary import Severity

SMALL = """\
name: knee
title: Knee MRI
modality: MR
body_parts: [KNEE]
procedure: {value: "1", scheme: 99TEST, meaning: MRI of knee}
sites:
  - id: medial
    name: medial meniscus
    code: {value: "2", scheme: 99TEST, meaning: medial meniscus}
observations:
  - id: tear
    name: Meniscal tear
    definition: A tear.
    synonyms: [meniscal tear]
    code: {value: "3", scheme: 99TEST, meaning: tear}
"""

RICH = """\
name: hand
title: Hand
modality: DX
modalities: [DX, CR]
body_parts: [HAND]
procedure: {value: "1", scheme: 99TEST, meaning: hand}
sites:
  - {id: thumb, name: thumb, code: {value: "2", scheme: 99TEST, meaning: thumb}}
  - {id: index, name: index, code: {value: "3", scheme: 99TEST, meaning: index}}
scales:
  degree:
    - {id: mild, name: mild, synonyms: [slight]}
    - {id: severe, name: severe}
locations:
  - {id: left, name: left, excludes: [right]}
  - {id: right, name: right}
  - {id: both, name: bilateral, means: [left, right]}
observations:
  - id: change
    name: Change
    definition: Anything.
    synonyms: []
    code: {value: "4", scheme: 99TEST, meaning: change}
    sites: []
    uncertain_policy: inclusive
  - id: wear
    name: Wear
    definition: Wear.
    synonyms: []
    code: {value: "5", scheme: 99TEST, meaning: wear}
    parents: [change]
    severities: degree
    modalities: [MR]
  - id: narrowing
    name: Narrowing
    definition: Narrow.
    synonyms: []
    code: {value: "6", scheme: 99TEST, meaning: narrow}
    sites: [thumb]
    parents: [wear]
    severities: [{id: some, name: some}]
    locations: [left, right]
    body_parts: [THUMB]
"""


def parse(text):
    return parse_schema(text.encode(), "knee.yaml")


def test_a_site_may_write_its_own_schema(tmp_path):
    file = tmp_path / "knee.yaml"
    file.write_text(SMALL)
    schema = schema_of(LabelingSettings(schema_file=str(file)))
    assert schema.name == "knee"
    assert schema.observation("tear").sites == ("medial",)
    assert schema.digest != parse(SMALL + "\n").digest


@pytest.mark.parametrize(
    ("change", "line", "key"),
    [
        (("modality: MR", "modality: 5"), 3, "modality"),
        (("modality: MR", "modality: no"), 3, "modality"),
        (("modality: MR", "colour: MR"), 3, "colour"),
        (("modality: MR\n", ""), 1, "missing key modality"),
        (("modality: MR", "modality: MR\nmodality: CT"), 4, "modality"),
        (("    definition: A tear.", "    definition: ''"), 13, "observations[0].definition"),
        (('value: "3"', "value: 3"), 15, "observations[0].code.value"),
        (('value: "3"', 'value: "12345678901234567"'), 15, "observations[0].code.value"),
        (("[meniscal tear]", "meniscal tear"), 14, "observations[0].synonyms"),
        (("id: tear", "id: whole"), 11, "observations[0].id"),
        (("[meniscal tear]", "[tear]\n    sites: [lateral]"), 15, "lateral"),
        (("body_parts: [KNEE]", "body_parts: [KNEE"), 5, "not YAML"),
        (("[KNEE]", "&a [KNEE]\nother: *a"), 5, "aliases"),
    ],
)  # fmt: skip
def test_a_bad_schema_is_refused_by_line_and_key(change, line, key):
    with pytest.raises(InvalidSchema) as caught:
        parse(SMALL.replace(*change))
    assert f"line {line}" in str(caught.value)
    assert key in str(caught.value)


def test_a_repeated_id_is_refused():
    start = SMALL.index("  - id: tear")
    with pytest.raises(InvalidSchema, match=r"line 16.*'tear' stands twice"):
        parse(SMALL + SMALL[start:])


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"- 1", b"[" * 300, b"a: 1" * 300_000])
def test_what_is_no_schema_is_refused(content):
    with pytest.raises(InvalidSchema):
        parse_schema(content, "x.yaml")


def test_missing_schemas_are_refused(tmp_path):
    with pytest.raises(InvalidSchema, match="cannot be read"):
        load_schema(tmp_path / "none.yaml")
    with pytest.raises(InvalidSchema, match="no schema named"):
        shipped_schema("elbow")
    with pytest.raises(InvalidSchema, match="not usable"):
        shipped_schema("../spine")


def test_an_observation_says_what_applies_to_it():
    schema = parse(RICH)
    change, wear, narrowing = schema.observations
    assert (change.sites, change.uncertain_policy) == ((), "inclusive")
    assert wear.sites == ("thumb", "index")
    assert wear.severities == (Severity("mild", "mild", ("slight",)), Severity("severe", "severe"))
    assert (wear.modalities, narrowing.modalities) == (("MR",), ("DX", "CR"))
    assert narrowing.severities == (Severity("some", "some"),)
    assert (narrowing.locations, narrowing.body_parts) == (("left", "right"), ("THUMB",))
    assert (wear.locations, wear.body_parts, wear.uncertain_policy) == ((), (), None)


def test_what_a_location_excludes_excludes_it():
    left, right, both = parse(RICH).locations
    assert (left.excludes, right.excludes, both.excludes) == (("right",), ("left",), ())
    assert both.means == ("left", "right")
    lingula = next(each for each in shipped_schema("chest").locations if each.id == "lingula")
    assert lingula.means == ("left", "lingula")


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("severities: degree", "severities: size"), 32, "[1].severities: no such scale"),
        (("[{id: some, name: some}]", "[]"), 41, "at least one severity"),
        (("[{id: some, name: some}]", "[{id: a, name: a}, {id: a, name: a}]"), 41, "stands twice"),
        (("    severities: degree\n", ""), 12, "scales.degree: no observation has the scale"),
        (("parents: [wear]", "parents: [swelling]"), 40, "no such observation: 'swelling'"),
        (("parents: [wear]", "parents: [wear, wear]"), 40, "stands twice"),
        (("parents: [wear]", "parents: [narrowing]"), 40, "circle"),
        (("sites: []", "sites: []\n    parents: [narrowing]"), 25, "circle"),
        (("excludes: [right]", "excludes: [up]"), 15, "locations[0].excludes[0]: no such location"),
        (("excludes: [right]", "excludes: [left]"), 15, "cannot exclude itself"),
        (("means: [left, right]", "implies: [left]"), 17, "locations[2].implies: unknown key"),
        (("locations: [left, right]", "locations: []"), 42, "every location can be said"),
        (("locations: [left, right]", "locations: [up]"), 42, "no such location: 'up'"),
        (("inclusive", "perhaps"), 25, "expected one of mask, inclusive, exclusive"),
        (("inclusive", "yes"), 25, "expected a text"),
        (("parents: [change]", "sites: [thumb]"), 9, "no observation has the site 'index'"),
        (("modalities: [DX, CR]", "modalities: DX"), 4, "modalities: expected a list"),
        (("  degree:", "  de gree:"), 11, "not usable as an id"),
    ],
)  # fmt: skip
def test_what_an_observation_gets_wrong_is_named_by_line_and_key(change, line, words):
    changed = RICH.replace(*change)
    assert changed != RICH
    with pytest.raises(InvalidSchema) as caught:
        parse(changed)
    assert f"line {line}," in str(caught.value)
    assert words in str(caught.value)


def test_a_narrowed_schema_keeps_what_is_implied_and_has_its_own_digest():
    schema = parse(RICH)
    few = narrowed(schema, ["narrowing", "change"])
    assert [each.id for each in few.observations] == ["change", "narrowing"]
    assert few.observation("narrowing").parents == ("change",)
    assert narrowed(schema, ["narrowing"]).observation("narrowing").parents == ()
    digests = {schema.digest, few.digest, narrowed(schema, ["change"]).digest}
    assert len(digests) == 3
    assert narrowed(schema, ["change", "narrowing"]).digest == few.digest


def test_all_observations_or_none_named_are_the_schema_itself():
    schema = parse(RICH)
    assert narrowed(schema, []) == schema
    assert narrowed(schema, ["change", "wear", "narrowing"]) == schema


def test_the_settings_narrow_the_schema():
    schema = schema_of(LabelingSettings(observations=("stenosis",)))
    assert [each.id for each in schema.observations] == ["stenosis"]
    with pytest.raises(InvalidSchema, match="spine has no observation 'fracture'; it has disc"):
        schema_of(LabelingSettings(observations=("stenosis", "fracture")))


def test_a_wrong_name_is_told_the_right_ones():
    with pytest.raises(InvalidSchema, match="there are chest, neuro, spine, upper_extremity"):
        shipped_schema("spin")


def test_what_stands_above_an_observation_is_found_over_several_steps():
    observations = "".join(
        f"  - {{id: {name}, name: {name}, definition: x, synonyms: [], parents: [{parents}], "
        f"code: {{value: '{name}', scheme: 99TEST, meaning: x}}}}\n"
        for name, parents in (("d", "b, c"), ("b", "a"), ("c", "a"), ("a", ""))
    )
    schema = parse(SMALL[: SMALL.index("  - id: tear")] + observations)
    assert {each.id: set(schema.above(each.id)) for each in schema.observations} == {
        "d": {"a", "b", "c"},
        "b": {"a"},
        "c": {"a"},
        "a": set(),
    }
