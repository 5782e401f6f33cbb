"""The example of deploy/schemas.md: a schema of a site's own, with words for the rules."""

import re
from pathlib import Path

import pytest

from labeling.errors import Permanent
from labeling.labeler import LabelerSetup
from labeling.llm.model_store import ModelStore
from labeling.rules.labeler import RuleLabeler
from labeling.schema_file import schema_of
from labeling.schema_words import languages_of
from labeling.settings import LabelingSettings

DOCUMENT = (Path(__file__).parents[3] / "deploy/schemas.md").read_text(encoding="utf-8")
SCHEMA, WORDS, _ = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
EXAMPLES = re.findall(r"^\| (\w[^|]*\.) \| (\w+) \| (\w+) \|$", DOCUMENT, re.MULTILINE)


def settings_of(folder: Path, words: str | None = WORDS) -> LabelingSettings:
    path = folder / "knee.yaml"
    path.write_text(SCHEMA, encoding="utf-8")
    if words is not None:
        (folder / "knee.rules.yaml").write_text(words, encoding="utf-8")
    return LabelingSettings(schema_file=str(path))


def rules_of(settings: LabelingSettings) -> RuleLabeler:
    store, languages = ModelStore(Path("/nonexistent")), languages_of(settings)
    return RuleLabeler(LabelerSetup(schema_of(settings), settings, store, languages=languages))


def states(labeler: RuleLabeler, sentence: str) -> tuple[str, str]:
    results = labeler.label_report(f"FINDINGS: {sentence}")
    found = {(each.observation, each.site): str(each.state) for each in results}
    return found["tear", "whole"], found["tear", "medial"]


def test_the_sentences_of_the_document_are_read_as_it_says(tmp_path: Path) -> None:
    labeler = rules_of(settings_of(tmp_path))
    assert len(EXAMPLES) == 5
    for sentence, *expected in EXAMPLES:
        assert states(labeler, sentence) == tuple(expected), sentence


def test_without_words_only_names_and_synonyms_count(tmp_path: Path) -> None:
    labeler = rules_of(settings_of(tmp_path, words=None))
    assert states(labeler, "No meniscal tear.")[0] == "absent"
    assert states(labeler, "There is a tear of the medial meniscus.")[0] == "not_mentioned"


def test_other_words_are_another_labeler_that_asks_the_same(tmp_path: Path) -> None:
    first = rules_of(settings_of(tmp_path))
    other = rules_of(settings_of(tmp_path, words="words: [meniscus]\n"))
    assert first.model_digest != other.model_digest
    assert first.prompt_digest == other.prompt_digest


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("observations:\n  crack: {present: [x]}\n", "line 2, observations.crack: the schema has"),
        ("observations: {}\nsynonyms: {}\n", "line 2, synonyms: unknown key"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(tmp_path: Path, words: str, reason: str) -> None:
    with pytest.raises(Permanent, match=rf"knee\.rules\.yaml, {re.escape(reason)}"):
        languages_of(settings_of(tmp_path, words))
