"""Reads a label schema from YAML; whatever is wrong is named by line and key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

import yaml

from labeling.errors import Permanent
from labeling.settings import LabelingSettings
from labeling.vocabulary import WHOLE, Code, LabelSchema, Observation, Site

MAXIMUM_BYTES = 1024 * 1024
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_T = TypeVar("_T")


class InvalidSchema(Permanent):
    """A schema file cannot be used; the message says in which line and at which key."""


@dataclass(frozen=True)
class _Entry:
    """One value of the file: where it stands, how to reach it, and its node."""

    source: str
    path: str
    node: yaml.Node

    def refuse(self, reason: str) -> InvalidSchema:
        line = self.node.start_mark.line + 1
        return InvalidSchema(f"{self.source}, line {line}, {self.path or 'top level'}: {reason}")

    def text(self) -> str:
        """Return a non-empty string; a bare number, date or yes/no is refused, not converted."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.refuse("expected a text")
        if self.node.tag != "tag:yaml.org,2002:str":
            raise self.refuse("expected a text; write numbers and yes/no in quotes")
        if not self.node.value.strip():
            raise self.refuse("must not be empty")
        return " ".join(str(self.node.value).split())

    def flag(self) -> bool:
        """Return a true or false."""
        if self.node.tag != "tag:yaml.org,2002:bool":
            raise self.refuse("expected true or false")
        return str(self.node.value).lower() in {"true", "yes", "on"}

    def items(self) -> list[_Entry]:
        """Return the entries of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.refuse("expected a list")
        return [
            _Entry(self.source, f"{self.path}[{index}]", node)
            for index, node in enumerate(self.node.value)
        ]

    def fields(self, required: set[str], optional: set[str] | None = None) -> dict[str, _Entry]:
        """Return the entries of a mapping; unknown, repeated and missing keys are refused."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.refuse("expected keys and values")
        found: dict[str, _Entry] = {}
        for key_node, value_node in self.node.value:
            key = str(key_node.value)
            path = f"{self.path}.{key}" if self.path else key
            if key in found:
                raise _Entry(self.source, path, key_node).refuse("the key stands twice")
            if key not in required | (optional or set()):
                raise _Entry(self.source, path, key_node).refuse("unknown key")
            found[key] = _Entry(self.source, path, value_node)
        if missing := sorted(required - found.keys()):
            raise self.refuse(f"missing key {missing[0]}")
        return found

    def identifier(self) -> str:
        """Return an id: letters, digits, ``_``, ``.`` and ``-``."""
        value = self.text()
        if not _ID.fullmatch(value) or value == WHOLE:
            raise self.refuse(f"not usable as an id: {value!r}")
        return value

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(entry.text() for entry in self.items())


def load_schema(path: Path) -> LabelSchema:
    """Load a schema file.

    Raises:
        InvalidSchema: unreadable, not YAML, or not a schema; names the line and the key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidSchema(f"{path.name}: cannot be read ({error.strerror})") from error
    return parse_schema(content, path.name)


def shipped_schema(name: str) -> LabelSchema:
    """Return a schema that comes with the package, for example ``spine``.

    Raises:
        InvalidSchema: there is none of this name.
    """
    if not _ID.fullmatch(name):
        raise InvalidSchema(f"not usable as a schema name: {name!r}")
    file = resources.files("labeling") / "schemas" / f"{name}.yaml"
    if not file.is_file():
        raise InvalidSchema(f"no schema named {name!r} comes with the package")
    return parse_schema(file.read_bytes(), f"{name}.yaml")


def schema_of(settings: LabelingSettings) -> LabelSchema:
    """Return the schema that the settings name; a site's own file wins over a shipped name."""
    if settings.schema_file:
        return load_schema(Path(settings.schema_file))
    return shipped_schema(settings.schema_name)


def parse_schema(content: bytes, source: str) -> LabelSchema:
    """Turn the bytes of a schema file into a schema; ``source`` names the file in errors."""
    top = _Entry(source, "", _compose(content, source)).fields(
        {"name", "title", "modality", "body_parts", "procedure", "sites", "observations"}
    )
    sites = _unique(top["sites"], _site, lambda site: site.id)
    known = tuple(site.id for site in sites)
    observations = _unique(
        top["observations"], lambda entry: _observation(entry, known), lambda each: each.id
    )
    if not observations:
        raise top["observations"].refuse("at least one observation is needed")
    return LabelSchema(
        name=top["name"].identifier(),
        title=top["title"].text(),
        modality=top["modality"].text(),
        body_parts=top["body_parts"].texts(),
        procedure=_code(top["procedure"]),
        sites=sites,
        observations=observations,
        digest=hashlib.sha256(content).hexdigest(),
    )


def _compose(content: bytes, source: str) -> yaml.Node:
    """Parse to nodes, which know their line; aliases are refused (they can grow without bound)."""
    if len(content) > MAXIMUM_BYTES:
        raise InvalidSchema(f"{source}: larger than {MAXIMUM_BYTES} bytes")
    try:
        for event in yaml.parse(content, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark is not None else 1
                raise InvalidSchema(f"{source}, line {line}: aliases are not allowed")
        node = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else 1
        raise InvalidSchema(f"{source}, line {line}: not YAML ({error.problem})") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSchema(f"{source}, line 1: not YAML text") from error
    if node is None:
        raise InvalidSchema(f"{source}, line 1: the file is empty")
    return node


def _unique(
    entry: _Entry, read: Callable[[_Entry], _T], key: Callable[[_T], str]
) -> tuple[_T, ...]:
    values: dict[str, _T] = {}
    for item in entry.items():
        value = read(item)
        if key(value) in values:
            raise item.refuse(f"the id {key(value)!r} stands twice")
        values[key(value)] = value
    return tuple(values.values())


def _code(entry: _Entry) -> Code:
    fields = entry.fields({"value", "scheme", "meaning"}, {"unconfirmed"})
    value, scheme, meaning = (fields[key].text() for key in ("value", "scheme", "meaning"))
    # Code Value (0008,0100) and Coding Scheme Designator are SH, Code Meaning is LO (PS3.5 6.2).
    for key, text, limit in (
        ("value", value, 16),
        ("scheme", scheme, 16),
        ("meaning", meaning, 64),
    ):
        if len(text) > limit:
            raise fields[key].refuse(f"longer than {limit} characters")
    unconfirmed = fields["unconfirmed"].flag() if "unconfirmed" in fields else False
    return Code(value, scheme, meaning, unconfirmed)


def _site(entry: _Entry) -> Site:
    fields = entry.fields({"id", "name", "code"}, {"synonyms"})
    return Site(
        id=fields["id"].identifier(),
        name=fields["name"].text(),
        code=_code(fields["code"]),
        synonyms=fields["synonyms"].texts() if "synonyms" in fields else (),
    )


def _observation(entry: _Entry, known_sites: tuple[str, ...]) -> Observation:
    fields = entry.fields({"id", "name", "definition", "synonyms", "code"}, {"sites"})
    sites = known_sites
    if "sites" in fields:
        sites = fields["sites"].texts()
        for item, site in zip(fields["sites"].items(), sites, strict=True):
            if site not in known_sites:
                raise item.refuse(f"no such site: {site!r}")
    return Observation(
        id=fields["id"].identifier(),
        name=fields["name"].text(),
        definition=fields["definition"].text(),
        synonyms=fields["synonyms"].texts(),
        code=_code(fields["code"]),
        sites=sites,
    )
