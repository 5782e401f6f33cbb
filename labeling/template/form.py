"""The form that a language model fills in: one JSON object a report, an entry a finding.

Kreutzer et al. (Eur Radiol 2025) have a finding true, false or "uncertain". Here a finding that no
sentence speaks of is a fourth case, and it is not the model's word but the form of the object: an
entry with sentences says true, false or "uncertain"; one without can only say "not_mentioned". So
no finding is ever present or absent without a sentence of the report.
"""

from __future__ import annotations

from typing import Any

from labeling.language import LanguagePack
from labeling.token_scores.prompt import filled, spoken
from labeling.vocabulary import LabelSchema, Observation, State

LABELER = "template"
"""The name of the labeler, and of its file in a language pack."""

SENTENCES, STATE, SEVERITY, LOCATIONS, SITES = "sentences", "state", "severity", "where", "levels"
SILENT, UNGRADED = "not_mentioned", "not_said"

STATES: tuple[tuple[bool | str, State], ...] = (
    (True, State.PRESENT),
    (False, State.ABSENT),
    ("uncertain", State.UNCERTAIN),
    (SILENT, State.NOT_MENTIONED),
)
MAXIMUM_SENTENCES = 3
"""Sentences that a finding may name."""

MAXIMUM_LOCATIONS = 4


def numbered(sentences: list[str]) -> str:
    """Return the sentences of a report, each in a line with its number, which begins with 1."""
    return "\n".join(f"[{number}] {each}" for number, each in enumerate(sentences, start=1))


def places_of(schema: LabelSchema, observation: Observation) -> tuple[str, ...]:
    """Return the ids of the locations that can be said of an observation."""
    return observation.locations or tuple(each.id for each in schema.locations)


def json_schema(schema: LabelSchema, sentences: int) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the form for a report of so many sentences."""
    numbers = {"enum": list(range(1, sentences + 1))}
    listed = {"type": "array", "items": numbers, "minItems": 1, "maxItems": MAXIMUM_SENTENCES}
    return _object({each.id: _entry(schema, each, listed) for each in schema.observations})


def fullest(schema: LabelSchema, sentences: int) -> dict[str, Any]:
    """Return the longest form that may be filled in, to bound what a model may write."""
    return {each.id: _fullest_entry(schema, each, sentences) for each in schema.observations}


def task(schema: LabelSchema, pack: LanguagePack) -> str:
    """Return the words that explain the form; they follow the report."""
    lines = [filled(pack, LABELER, "task", silent=SILENT)]
    if any(each.sites for each in schema.observations):
        lines.append(filled(pack, LABELER, "levels", silent=SILENT))
    if any(each.severities for each in schema.observations):
        lines.append(filled(pack, LABELER, "severity", ungraded=UNGRADED))
    if schema.locations:
        choices = ", ".join(each.id for each in schema.locations)
        lines.append(filled(pack, LABELER, "where", choices=choices))
    lines += [_finding(schema, pack, each) for each in schema.observations]
    return "\n".join([*lines, filled(pack, LABELER, "end")])


def _finding(schema: LabelSchema, pack: LanguagePack, observation: Observation) -> str:
    words = [
        filled(
            pack, LABELER, "finding", id=observation.id, name=spoken(observation),
            definition=observation.definition,
        )
    ]  # fmt: skip
    if observation.severities:
        scale = ", ".join(f"{each.id} ({each.name})" for each in observation.severities)
        words.append(filled(pack, LABELER, "scale", choices=scale))
    return " ".join(words)


def _entry(schema: LabelSchema, observation: Observation, listed: dict[str, Any]) -> dict[str, Any]:
    silent = _object({SENTENCES: {"const": []}, STATE: {"const": SILENT}})
    denied = _object({SENTENCES: listed, STATE: {"const": False}})
    said: dict[str, Any] = {SENTENCES: listed, STATE: {"enum": [True, "uncertain"]}}
    if observation.severities:
        said[SEVERITY] = {"enum": [*(each.id for each in observation.severities), UNGRADED]}
    if places := places_of(schema, observation):
        items = {"enum": list(places)}
        said[LOCATIONS] = {"type": "array", "items": items, "maxItems": MAXIMUM_LOCATIONS}
    if observation.sites:
        states = {"enum": [value for value, _ in STATES]}
        said[SITES] = _object(dict.fromkeys(observation.sites, states))
    return {"anyOf": [silent, denied, _object(said)]}


def _fullest_entry(schema: LabelSchema, observation: Observation, sentences: int) -> dict[str, Any]:
    entry: dict[str, Any] = {SENTENCES: [sentences] * MAXIMUM_SENTENCES, STATE: "uncertain"}
    if observation.severities:
        entry[SEVERITY] = max((each.id for each in observation.severities), key=len)
    if places := places_of(schema, observation):
        entry[LOCATIONS] = sorted(places, key=len)[-MAXIMUM_LOCATIONS:]
    if observation.sites:
        entry[SITES] = dict.fromkeys(observation.sites, SILENT)
    return entry


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
