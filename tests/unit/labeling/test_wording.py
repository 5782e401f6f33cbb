"""The wording that ships: rich enough, and true to what the schemas say."""

import pytest

from labeling.schema_file import shipped_schema
from labeling.synthesis.claims import severities_in
from labeling.synthesis.phrasings import Parted, Sentence
from labeling.synthesis.wording_file import load_wording

SCHEMAS = ("chest", "neuro", "upper_extremity")
SPLITS = ("train", "test")


def wording(name):
    return load_wording(shipped_schema(name)).own


def ancestors(schema, identifier):
    parents = schema.observation(identifier).parents
    return {*parents, *(above for each in parents for above in ancestors(schema, each))}


def both(sentences: Parted[Sentence]) -> list[Sentence]:
    return [*sentences.train, *sentences.test]


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_observation_can_be_said_in_every_way(name, split):
    own = wording(name).observations
    assert set(own) == {each.id for each in shipped_schema(name).observations}
    least = {"train": 8, "test": 4}[split]
    for identifier, said in own.items():
        assert len(said.present.of(split)) >= least, identifier
        for kind in (said.absent, said.says, said.denies, said.hedges):
            assert len(kind.of(split)) >= 2, identifier


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_phrase_of_a_degree_names_that_degree_and_no_other(name):
    schema, own = shipped_schema(name), wording(name).observations
    for observation in schema.observations:
        steps = own[observation.id].severities
        for step, phrases in steps.items():
            assert phrases.train, (observation.id, step)
            for phrase in (*phrases.train, *phrases.test):
                assert set(severities_in(phrase, observation)) == {step}, phrase


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_sentence_denies_or_doubts_what_it_implies(name):
    schema, own = shipped_schema(name), wording(name)
    for sentence in both(own.joint):
        implied = {above for each in sentence.present for above in ancestors(schema, each)}
        assert not implied & {*sentence.absent, *sentence.uncertain}, sentence.text
        assert sentence.present or sentence.absent or sentence.uncertain, sentence.text


def test_clear_lungs_deny_whatever_makes_a_lung_opaque():
    schema, own = shipped_schema("chest"), wording("chest")
    opaque = {o.id for o in schema.observations if "lung_opacity" in ancestors(schema, o.id)}
    clear = [s for s in both(own.joint) if s.text in {"The lungs are clear.", "Clear lungs."}]
    assert clear
    for sentence in clear:
        assert {*opaque, "lung_opacity"} <= set(sentence.absent)


@pytest.mark.parametrize("name", ["chest", "upper_extremity"])
def test_a_sentence_of_one_body_part_claims_nothing_of_another(name):
    schema, own = shipped_schema(name), wording(name)
    for sentence in both(own.joint):
        for identifier in (*sentence.present, *sentence.absent, *sentence.uncertain):
            parts = schema.observation(identifier).body_parts
            if parts and sentence.body_parts:
                assert set(parts) == set(sentence.body_parts), sentence.text
