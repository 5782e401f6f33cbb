"""The labeler by token scores over a real, if random, network."""

from dataclasses import replace

import pytest

from labeling.labeler import checked
from labeling.language import load_languages
from labeling.llm.model_store import ModelStore
from labeling.schema_file import shipped_schema
from labeling.thresholds import Threshold, Thresholds
from labeling.token_scores.labeler import TOO_LONG, TokenScoreLabeler
from labeling.vocabulary import State
from tests.labeling_builders import setup_of
from tests.tiny_language_model import write_tiny_model

SPINE = shipped_schema("spine")
SCHEMA = replace(SPINE, observations=SPINE.observations[:3])
REPORTS = [
    "HISTORY: Back pain.\nFINDINGS: Disc herniation at L4-L5 . Severe stenosis . No slip .",
    "Normal lumbar spine .",
    "",
    "FINDINGS:\r\nL4-L5: A slip . 🙂 No herniation .\r\nIMPRESSION: A slip at L4-L5 .",
]
LABELS = sum(1 + len(each.sites) for each in SCHEMA.observations)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    prompts = load_languages().packs["en"].prompts["token_scores"]
    definitions = [f"{each.name} {each.definition}".lower() for each in SCHEMA.observations]
    # Questions end a place with a question mark, and words are cut at blanks only.
    places = [f"{each.name}? {each.name}" for each in SCHEMA.sites]
    words = " ".join([*REPORTS, *prompts.values(), *definitions, *places])
    store = ModelStore(root / "store")
    store.add(write_tiny_model(root / "site", words), "site")
    return store


def labeler_of(store, *, thresholds=None, batch=4, **token_scores):
    model = {"name": "site", "threads": 1, "batch_reports": batch}
    settings = {"language_model": model, "token_scores": token_scores}
    given = {} if thresholds is None else {"thresholds": thresholds}
    return TokenScoreLabeler(setup_of(SCHEMA, store=store.root, **given, **settings))


def margins(results):
    return [margin for each in results for margin in (each.margin, each.mention_margin)]


@pytest.mark.parametrize("two_step", [False, True])
def test_reports_side_by_side_get_what_they_get_alone(store, two_step):
    asked = {"two_step": two_step, "summary_tokens": 8, "evidence": False}
    together = list(labeler_of(store, **asked).label_reports(REPORTS))
    alone = [labeler_of(store, batch=1, **asked).label_report(text) for text in REPORTS]
    assert [each.state for each in together[2]] == [State.FAILED] * LABELS
    for index in (0, 1, 3):
        assert margins(together[index]) == pytest.approx(margins(alone[index]), abs=1e-3)
        # Levels that a report does not name have none; of the others hardly two are alike.
        known = [each for each in margins(together[index]) if each is not None]
        assert len(set(known)) > 0.9 * len(known) > 0
    assert margins(together[0]) != pytest.approx(margins(together[3]), abs=1e-3)


def test_a_model_of_the_site_labels_with_evidence_by_removal(store):
    low = Thresholds(
        {each.id: Threshold(-50.0, -50.0) for each in SCHEMA.observations},
        {each.id: Threshold(-50.0, -50.0) for each in SCHEMA.observations},
    )
    labeler = labeler_of(store, thresholds=low)
    assert labeler.model_digest == store.get("site").sha256
    for text, results in zip(REPORTS, labeler.label_reports(REPORTS), strict=True):
        checked(results, SCHEMA, text)
        for each in results:
            assert (each.state is State.PRESENT) == bool(each.evidence)


def test_a_report_that_the_model_cannot_hold_fails_alone(store):
    long = "Normal lumbar spine . " * 2000
    first, second = labeler_of(store, evidence=False).label_reports([long, REPORTS[0]])
    assert {each.state for each in first} == {State.FAILED}
    assert first[0].detail == TOO_LONG
    assert State.FAILED not in {each.state for each in second}
