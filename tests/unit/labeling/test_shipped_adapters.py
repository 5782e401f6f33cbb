"""The adapters that ship are found for the embedded model, and say how they were made."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from labeling.language import load_languages
from labeling.llm.adapter_file import Adapter, read_adapter
from labeling.llm.model_store import EMBEDDED_NAME
from labeling.schema_file import shipped_schema
from labeling.token_scores.prompt import Prompts

FOLDER = Path(str(resources.files("labeling"))) / "llm" / "adapters"
MOST_BYTES = 6 * 2**20
SHIPPED = sorted(each.stem for each in FOLDER.glob("*.json"))


@pytest.fixture(params=SHIPPED)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return read_adapter(FOLDER / f"{request.param}.json")


def test_the_schema_of_the_demonstration_has_one() -> None:
    assert "spine" in SHIPPED


def test_it_is_small_and_whole(adapter: Adapter) -> None:
    content = adapter.weights.read_bytes()
    assert len(content) < MOST_BYTES
    assert hashlib.sha256(content).hexdigest() == adapter.description.weights_sha256


def test_it_learned_the_questions_that_are_asked_of_the_embedded_model(adapter: Adapter) -> None:
    told = adapter.description
    schema = shipped_schema(told.schema)
    assert (told.base, told.schema_digest) == (EMBEDDED_NAME, schema.digest)
    (kind,) = (each for each in told.questions if each.startswith("token_scores"))
    prompts = Prompts(schema, load_languages().packs["en"], kind)
    asked = {each.id: prompts.digest(each.id) for each in schema.observations}
    assert told.questions[kind] == {"en": asked}


def test_it_names_the_commands_that_made_it_and_no_folder_of_the_maker(adapter: Adapter) -> None:
    row = json.loads(adapter.weights.with_suffix(".json").read_text())
    for training in trainings(row["training"]):
        assert training["command"].startswith("radloop llm adapt --schema")
        assert "/" not in training["command"]
    assert row["figures"]["split"] == "test"


def trainings(last: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a training, and those of the adapters from which it went on."""
    before = last["begun_from"].get("training")
    return [last, *(trainings(before) if before else [])]
