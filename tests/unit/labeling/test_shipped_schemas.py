"""The schemas that come with the package, all held to the same rules."""

import pytest
from pydicom.sr._concepts_dict import concepts

from labeling.schema_file import shipped_names, shipped_schema

SCHEMAS = {name: shipped_schema(name) for name in shipped_names()}
PRIVATE = "99RADLOOP"
IN_PS3_16 = {
    (scheme, value)
    for scheme, by_keyword in concepts.items()
    for by_value in by_keyword.values()
    for value in by_value
}

every_schema = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)


def test_four_schemas_ship():
    assert list(SCHEMAS) == ["chest", "neuro", "spine", "upper_extremity"]


def test_spine_has_eight_observations_and_levels_for_six_of_them():
    schema = SCHEMAS["spine"]
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


def test_neuro_is_abnormal_and_seven_categories():
    schema = SCHEMAS["neuro"]
    assert len(schema.observations) == 8
    implying = {each.id for each in schema.observations if "abnormal" in each.parents}
    assert {each.id for each in schema.observations} - implying == {
        "abnormal",
        "small_vessel_disease",
    }


def test_upper_extremity_has_a_template_for_each_region():
    schema = SCHEMAS["upper_extremity"]
    parts = [each.body_parts[0] if each.body_parts else "" for each in schema.observations]
    assert set(parts) == {"", "CLAVICLE", "ELBOW", "THUMB"}
    assert all(each.modalities == ("DX", "CR") for each in schema.observations)
    for each in schema.observations:
        if each.id.endswith("_fracture"):
            assert each.parents == ("fracture",)


def test_chest_rolls_up_to_lung_opacity():
    schema = SCHEMAS["chest"]

    def above(name):
        parents = schema.observation(name).parents
        return set(parents).union(*(above(each) for each in parents))

    assert above("pneumonia") == {"consolidation", "lung_opacity"}
    assert above("nodule") == {"lung_lesion", "lung_opacity"}
    for name in ("atelectasis", "consolidation", "edema", "lung_lesion", "infiltration"):
        assert "lung_opacity" in above(name)
    assert above("pleural_effusion") == set()


@every_schema
def test_every_code_is_in_the_dicom_dictionary_or_marked_unconfirmed(schema):
    codes = [schema.procedure, *(each.code for each in (*schema.sites, *schema.observations))]
    for code in codes:
        if code.scheme.startswith("99"):  # private, declared in each document that uses it
            assert code.scheme == PRIVATE
            continue
        assert ((code.scheme, code.value) in IN_PS3_16) is not code.unconfirmed, code


@every_schema
def test_no_code_means_two_observations(schema):
    codes = [(each.code.scheme, each.code.value) for each in schema.observations]
    assert len(set(codes)) == len(codes)


@every_schema
def test_every_observation_is_named_and_defined(schema):
    names = [each.name for each in schema.observations]
    assert len(set(names)) == len(names)
    for each in schema.observations:
        assert each.definition.endswith(".")
        assert each.synonyms
        assert len({word.lower() for word in each.synonyms}) == len(each.synonyms)


@every_schema
def test_a_word_stands_for_one_severity_of_a_scale_and_one_location(schema):
    scales = {each.severities for each in schema.observations}
    for terms in (*scales, schema.locations):
        words = [word.lower() for each in terms for word in (each.name, *each.synonyms)]
        assert len(set(words)) == len(words)
