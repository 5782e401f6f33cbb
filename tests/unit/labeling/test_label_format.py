"""deploy/labels.md says what a file of labels holds: its example is run, its keys are compared."""

import json
import re
from pathlib import Path

from labeling.decision import decide
from labeling.labeler import LabelResult
from labeling.report_file import labels_of
from labeling.rules.labeler import RuleLabeler
from labeling.schema_file import schema_of
from labeling.sections import MAXIMUM_CHARACTERS
from labeling.settings import LabelingSettings
from labeling.thresholds import UNCALIBRATED
from labeling.vocabulary import WHOLE, State
from tests.labeling_builders import setup_of

DOCUMENT = (Path(__file__).parents[3] / "deploy/labels.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return found.strip()


def test_the_example_is_what_the_rules_say() -> None:
    only = {"schema_name": "spine", "observations": ("spondylolisthesis",)}
    schema = schema_of(LabelingSettings.model_validate(only))
    text = block("text")
    results = RuleLabeler(setup_of(schema, **only)).label_report(text)
    found = labels_of("17", decide(results, schema, UNCALIBRATED))
    assert found == json.loads(block("json"))
    [span] = found["labels"]["spondylolisthesis"]["levels"]["L3-L4"]["evidence"]
    assert text[span["start"] : span["end"]] == "Possible slight retrolisthesis at L3-L4."


def test_every_key_is_described() -> None:
    full = LabelResult(
        "tear", WHOLE, State.PRESENT, 0.9, 1.0, 2.0, evidence=((0, 1),), severity="mild",
        locations=("left",), detail="a note",
    )  # fmt: skip
    record = labels_of("1", [full])
    keys = [*record, *record["labels"]["tear"]]
    described = re.findall(r"^\| `(\w+)` \|", DOCUMENT.split("## Labels")[1], re.MULTILINE)
    assert sorted(described) == sorted(keys)
    for state in State:
        assert f"`{state}`" in DOCUMENT


def test_the_longest_report_is_the_one_that_is_read() -> None:
    assert f"longer than {MAXIMUM_CHARACTERS:,} characters" in DOCUMENT
