"""Reads the wording of generated reports from YAML; what is wrong is named by line and key.

``wording/LANGUAGE/common.yaml`` holds what can be said of any finding, and
``wording/LANGUAGE/SCHEMA.yaml`` what is said of those of one schema. Each list of phrasings is
``{train: [...], test: [...]}``; a phrasing that stands in both is refused: a sentence in whatever
lists of the two files, a noun phrase in the lists from which it is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path

from labeling.located_yaml import Entry, is_identifier, read_yaml
from labeling.synthesis.phrasings import InvalidWording, Parted, PartedReader, Phrasings, Sentence
from labeling.synthesis.words import (
    NO_PHRASES,
    NO_SENTENCES,
    CommonWording,
    ObservationWording,
    SchemaWording,
    Wording,
)
from labeling.vocabulary import LabelSchema, Observation

__all__ = ["FRAMES", "InvalidWording", "Wording", "load_wording", "parse_common", "parse_wording"]

_NOUN = frozenset({"severity", "side"})
_WHERE = frozenset({"at", "upper", "lower"})
_SENTENCE = _WHERE | _NOUN
_NONE = frozenset[str]()

FRAMES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    # kind: placeholders that must stand in it, and those that may stand in it besides
    "found": (frozenset({"np"}), frozenset({"at", "is"})),
    "found_first": (frozenset({"np", "site"}), frozenset({"is"})),
    "changed": (frozenset({"np"}), frozenset({"at", "is"})),
    "joined": (frozenset({"a", "b"}), frozenset({"at"})),
    "found_not": (frozenset({"a", "b"}), frozenset({"at"})),
    "not_found": (frozenset({"list", "np"}), frozenset({"at"})),
    "denied": (frozenset({"np"}), frozenset({"at", "is"})),
    "denied_lists": (frozenset({"list"}), frozenset({"at"})),
    "denied_pairs": (frozenset({"a", "b"}), frozenset({"at"})),
    "denied_except": (frozenset({"np", "sites"}), _NONE),
    "denied_elsewhere": (frozenset({"np"}), frozenset({"is"})),
    "resolved": (frozenset({"np"}), frozenset({"at", "is"})),
    "hedged": (frozenset({"np"}), frozenset({"at", "is"})),
    "hedged_pairs": (frozenset({"a", "b"}), frozenset({"at"})),
    "sites_normal": (frozenset({"sites"}), _NONE),
    "sites_stable": (frozenset({"sites"}), _NONE),
    "rest_normal": (_NONE, _NONE),
    "study_normal": (_NONE, frozenset({"study"})),
    "study_stable": (_NONE, frozenset({"study"})),
    "added": (frozenset({"np"}), frozenset({"at"})),
    "withdrawn": (frozenset({"np"}), frozenset({"at"})),
    "histories": (_NONE, frozenset({"np", "age", "sex"})),
    "comparisons": (_NONE, frozenset({"date"})),
    "techniques": (_NONE, frozenset({"study"})),
    "recommendations": (_NONE, frozenset({"np"})),
    "closings": (_NONE, _NONE),
    "mentioned": (frozenset({"np"}), _NONE),
}
"""The sentences that ``common.yaml`` has for any finding."""

VOCABULARY = frozenset(
    {"at_site", "at_level", "every_site", "headings_history", "headings_technique",
     "headings_comparison", "headings_findings", "headings_impression", "headings_addendum",
     "headings_recommendation", "sides", "protected", "titles"}
)  # fmt: skip
"""Words of ``common.yaml`` that both splits use: small words, headings, names of levels."""

_SILENT = {"histories": "histories", "comparisons": "comparisons", "techniques": "techniques"}
"""Sentences of sections that never label, and what they share a scope with."""

_OBSERVATION_KEYS = {"present", "absent", "says", "denies", "hedges", "stable", "severities"}
_OBSERVATION_KEYS |= {"measures", "places", "lasting"}
_NOUNS = frozenset({"present", "absent", "measures", "places"})
_SCHEMA_KEYS = {"joint", "distractors", "techniques", "histories", "normals", "places"}
_SCHEMA_KEYS |= {"other_places", "abbreviations"}


def load_wording(schema: LabelSchema, language: str = "en", path: Path | None = None) -> Wording:
    """Load the wording for a schema.

    Args:
        schema: of the reports; one without a wording file is said by its names and synonyms.
        language: ISO 639 code of a folder in ``wording``.
        path: a wording file of a site's own, in place of one that ships.

    Raises:
        InvalidWording: a file cannot be used; names file, line and key.
    """
    common = _shipped(language, "common")
    if common is None:
        raise InvalidWording(f"no wording for the language {language!r} comes with the package")
    own, source = _shipped(language, schema.name), f"{schema.name}.yaml"
    if path is not None:
        own, source = _read(path), path.name
    return _parsed(common, own, source, schema)


@lru_cache(maxsize=16)
def _parsed(common: bytes, own: bytes | None, source: str, schema: LabelSchema) -> Wording:
    reader = PartedReader()
    shared = parse_common(common, "common.yaml", reader)
    said = SchemaWording(schema.name)
    if own is not None:
        said = parse_wording(own, source, schema, reader)
    return Wording(shared, said, hashlib.sha256(common + (own or b"")).hexdigest())


def _shipped(language: str, name: str) -> bytes | None:
    if not (is_identifier(language) and is_identifier(name)):
        return None
    file = resources.files("labeling") / "synthesis" / "wording" / language / f"{name}.yaml"
    return file.read_bytes() if file.is_file() else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidWording(f"{path.name}: cannot be read ({error.strerror})") from error


def parse_common(content: bytes, source: str, reader: PartedReader) -> CommonWording:
    """Turn the bytes of a common wording file into wording.

    Raises:
        InvalidWording: names the line and the key.
    """
    top = read_yaml(content, source, InvalidWording).fields(
        {"frames", "vocabulary", "abbreviations"}
    )
    frames = top["frames"].fields(set(FRAMES))
    words = top["vocabulary"].fields(set(VOCABULARY))
    return CommonWording(
        frames={
            kind: reader.phrasings(
                frames[kind], required | optional, required, scope=_SILENT.get(kind, "")
            )
            for kind, (required, optional) in FRAMES.items()
        },
        vocabulary={kind: entry.texts() for kind, entry in words.items()},
        abbreviations=_abbreviations(top),
    )


def parse_wording(
    content: bytes, source: str, schema: LabelSchema, reader: PartedReader
) -> SchemaWording:
    """Turn the bytes of a schema's wording file into wording.

    Raises:
        InvalidWording: names the line and the key; also where the file is for another schema.
    """
    top = read_yaml(content, source, InvalidWording).fields(
        {"schema", "observations"}, _SCHEMA_KEYS
    )
    if top["schema"].text() != schema.name:
        raise top["schema"].refuse(f"this is not the schema {schema.name!r}")
    known = tuple(each.id for each in schema.observations)
    observations: dict[str, ObservationWording] = {}
    for name, entry in top["observations"].named().items():
        if name not in known:
            raise entry.refuse(f"the schema {schema.name} has no observation {name!r}")
        observations[name] = _observation(entry, schema.observation(name), reader)

    def sentences(key: str, allowed: frozenset[str], scope: str = "") -> Parted[Sentence]:
        if key not in top:
            return NO_SENTENCES
        return reader.sentences(top[key], allowed, known, scope=scope)

    def phrasings(key: str, allowed: frozenset[str] = _NONE, scope: str = "") -> Phrasings:
        return reader.phrasings(top[key], allowed, scope=scope) if key in top else NO_PHRASES

    return SchemaWording(
        schema=schema.name,
        observations=observations,
        joint=sentences("joint", _SENTENCE),
        distractors=sentences("distractors", frozenset({"side"})),
        techniques=sentences("techniques", _NONE, "techniques"),
        histories=phrasings("histories", frozenset({"np", "age", "sex"}), "histories"),
        normals=sentences("normals", _NONE),
        places=phrasings("places", scope="places"),
        other_places=phrasings("other_places", scope="places"),
        abbreviations=_abbreviations(top),
    )


def _observation(
    entry: Entry, observation: Observation, reader: PartedReader
) -> ObservationWording:
    fields = entry.fields(set(), _OBSERVATION_KEYS)

    def read(key: str, allowed: frozenset[str]) -> Phrasings:
        if key not in fields:
            return NO_PHRASES
        scope = f"{observation.id}.{key}" if key in _NOUNS else ""
        return reader.phrasings(fields[key], allowed, scope=scope)

    return ObservationWording(
        present=read("present", _NOUN),
        absent=read("absent", frozenset({"side"})),
        says=read("says", _SENTENCE),
        denies=read("denies", _WHERE | {"side"}),
        hedges=read("hedges", _SENTENCE),
        stable=read("stable", _WHERE),
        severities=_severities(fields, observation, reader),
        measures=read("measures", frozenset({"mm"})),
        places=read("places", _NONE),
        lasting="lasting" in fields and fields["lasting"].flag(),
    )


def _severities(
    fields: Mapping[str, Entry], observation: Observation, reader: PartedReader
) -> dict[str, Phrasings]:
    if "severities" not in fields:
        return {}
    known = [each.id for each in observation.severities]
    found: dict[str, Phrasings] = {}
    for step, entry in fields["severities"].named().items():
        if step not in known:
            raise entry.refuse(f"the scale of {observation.id!r} has no step {step!r}")
        scope = f"{observation.id}.present"
        found[step] = reader.phrasings(entry, frozenset({"side"}), scope=scope)
    return found


def _abbreviations(top: Mapping[str, Entry]) -> dict[str, str]:
    if "abbreviations" not in top:
        return {}
    pairs = (each.fields({"word", "short"}) for each in top["abbreviations"].items())
    return {each["word"].text(): each["short"].text() for each in pairs}
