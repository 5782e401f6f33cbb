import pytest
from pydicom.sr._concepts_dict import concepts

from labeling.schema_file import InvalidSchema, load_schema, parse_schema, schema_of, shipped_schema
from labeling.settings import LabelingSettings

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


def parse(text):
    return parse_schema(text.encode(), "knee.yaml")


def test_spine_has_eight_observations_and_levels_for_six_of_them():
    schema = shipped_schema("spine")
    levels = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")
    assert {each.id: each.sites for each in schema.observations} == {
        "disc_narrowing": levels,
        "herniation": levels,
        "stenosis": levels,
        "spondylolisthesis": levels,
        "cauda_equina_compression": (),
        "cancer": (),
        "disc_bulging": levels,
        "disc_degeneration": levels,
    }
    grades = schema.observation("disc_degeneration").severities
    assert [each.name for each in grades][::4] == ["Pfirrmann grade I", "Pfirrmann grade V"]
    assert schema.observation("cauda_equina_compression").parents == ("stenosis",)
    assert schema.site("L4-L5").code.value == "243923001"
    assert schema.modality == "MR"
    assert "LSPINE" in schema.body_parts


def test_every_code_is_in_the_dicom_dictionary_or_marked_unconfirmed():
    schema = shipped_schema("spine")
    known = {
        (scheme, value)
        for scheme, by_keyword in concepts.items()
        for by_value in by_keyword.values()
        for value in by_value
    }
    codes = [schema.procedure, *(x.code for x in (*schema.sites, *schema.observations))]
    for code in codes:
        if code.scheme.startswith("99"):  # private, declared in each document that uses it
            continue
        assert ((code.scheme, code.value) in known) is not code.unconfirmed, code


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
