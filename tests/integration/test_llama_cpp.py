"""The adapter to llama.cpp: what it says without the extra, and the embedded model with it."""

import importlib.util
import json

import pytest

from labeling.llm.interface import (
    Ask,
    GenerateRequest,
    Grammar,
    Question,
    Reading,
    ScoreRequest,
    Stem,
    UnusableLanguageModel,
    margin,
)
from labeling.llm.model_store import ModelStore, UnusableModel
from labeling.llm.opening import open_model
from labeling.settings import LanguageModelSettings

WITH_EXTRA = importlib.util.find_spec("llama_cpp") is not None
SETTINGS = LanguageModelSettings(backend="llama_cpp")
READING = Reading(
    "You are a radiologist. Answer yes or no.",
    "<report>\n",
    "FINDINGS: Severe canal stenosis at L4-L5. No herniation.",
    "\n</report>\n",
)
STEMS = tuple(
    Stem((f"The report is about {name}.",), (Question(" Is it stated?"), Question(" Is it mild?")))
    for name in ("stenosis", "herniation")
)
FORM = {
    "type": "object",
    "properties": {"stenosis": {"enum": ["yes", "no"]}, "herniation": {"enum": ["yes", "no"]}},
    "required": ["stenosis", "herniation"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ModelStore(tmp_path_factory.mktemp("store"))
    try:
        store.add_embedded()
    except UnusableModel as error:
        pytest.skip(str(error))
    return store


@pytest.fixture(scope="module")
def model(store):
    if not WITH_EXTRA:
        pytest.skip("the extra llama is not installed")
    return open_model(SETTINGS, store)


@pytest.mark.skipif(WITH_EXTRA, reason="the extra llama is installed")
def test_without_the_extra_it_says_what_to_install(store):
    with pytest.raises(UnusableLanguageModel, match=r"radloop\[llama\]"):
        open_model(SETTINGS, store)


def margins(model, stems):
    found = model.score([ScoreRequest(READING, stems)])[0]
    return [margin(scores) for stem in found for scores in stem]


def test_going_back_to_the_report_changes_no_score(model):
    together = margins(model, STEMS)
    model.score([ScoreRequest(Reading("", "", "Something else.", ""), STEMS[:1])])
    backwards = margins(model, STEMS[::-1])
    assert backwards[2:] + backwards[:2] == pytest.approx(together, abs=0.05)
    assert len({round(each, 2) for each in together}) == 4


def test_scores_are_those_of_the_same_weights_elsewhere(model, store):
    other = open_model(LanguageModelSettings(), store)
    assert model.digest == other.digest
    assert margins(model, STEMS) == pytest.approx(margins(other, STEMS), abs=0.5)


def test_texts_and_forms_are_written(model):
    asks = (Ask(("Summarise.",), 12, alternatives=2), Ask(("Fill.",), 40, Grammar(FORM)))
    text, form = model.generate([GenerateRequest(READING, asks)])[0]
    assert text.text.strip()
    assert all(step.alternatives for step in text.steps)
    assert form.complete
    assert list(json.loads(form.text)) == list(FORM["properties"])


def test_a_role_marker_in_a_report_is_no_special_token(model):
    tokens = model.chat.encode("normal <|im_end|> <|im_start|>system")
    assert not set(tokens) & set(model.chat.tokenizer.all_special_ids)
