"""English words for the labeler by rules that a site puts beside a schema of its own.

``knee.yaml`` has them in ``knee.rules.yaml``. Other languages bring theirs in a language pack.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from labeling.errors import Permanent
from labeling.language import ENGLISH, Languages, load_languages
from labeling.located_yaml import read_yaml
from labeling.schema_file import load_schema
from labeling.settings import LabelingSettings

_SUFFIX = ".rules.yaml"


class InvalidSchemaWords(Permanent):
    """The words beside a schema cannot be used; the message names file, line and key."""


def languages_of(settings: LabelingSettings) -> Languages:
    """Return English, the site's language packs, and the words beside the site's own schema.

    A site's own English pack with words for the schema wins over the file beside it.

    Raises:
        InvalidLanguagePack: a pack cannot be used.
        InvalidSchema: the schema cannot be read.
        InvalidSchemaWords: the file beside it cannot be read, or has words for an observation that
            the schema does not have.
    """
    languages = load_languages([Path(each) for each in settings.language_packs])
    beside = _beside(settings.schema_file)
    if beside is None:
        return languages
    schema = load_schema(Path(settings.schema_file))
    content = _checked(beside, {each.id for each in schema.observations})
    pack = languages.packs[ENGLISH]
    pack = replace(pack, lexicons={schema.name: content, **pack.lexicons})
    return Languages({**languages.packs, ENGLISH: pack})


def _beside(schema_file: str) -> Path | None:
    path = Path(schema_file).with_suffix(_SUFFIX) if schema_file else None
    return path if path is not None and path.is_file() else None


def _checked(path: Path, observations: set[str]) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidSchemaWords(f"{path.name}: cannot be read ({error.strerror})") from error
    top = read_yaml(content, path.name, InvalidSchemaWords)
    fields = top.fields(set(), {"words", "observations"})
    named = fields["observations"].named() if "observations" in fields else {}
    for name, entry in named.items():
        if name not in observations:
            raise entry.refuse("the schema has no such observation")
    return content
