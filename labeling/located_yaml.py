"""YAML that knows where each value stands, so that an error can name file, line and key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import yaml

from labeling.errors import Permanent

MAXIMUM_BYTES = 1024 * 1024
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is some 15 times faster
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Entry:
    """One value of a file: where it stands, how to reach it, its node, and its kind of error."""

    source: str
    path: str
    node: yaml.Node
    error: type[Permanent]

    def refuse(self, reason: str) -> Permanent:
        """Return the error that names file, line and key; the caller raises it."""
        line = self.node.start_mark.line + 1
        return self.error(f"{self.source}, line {line}, {self.path or 'top level'}: {reason}")

    def text(self) -> str:
        """Return a non-empty string; a bare number, date or yes/no is refused, not converted."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.refuse("expected a text")
        if self.node.tag != "tag:yaml.org,2002:str":
            raise self.refuse("expected a text; write numbers and yes/no in quotes")
        if not self.node.value.strip():
            raise self.refuse("must not be empty")
        return " ".join(str(self.node.value).split())

    def verbatim(self) -> str:
        """Return a non-empty string with its line breaks, as prompts need them."""
        self.text()
        return str(self.node.value)

    def flag(self) -> bool:
        """Return a true or false."""
        if self.node.tag != "tag:yaml.org,2002:bool":
            raise self.refuse("expected true or false")
        return str(self.node.value).lower() in {"true", "yes", "on"}

    def choice(self, options: tuple[str, ...]) -> str:
        """Return one of the texts that are allowed here."""
        value = self.text()
        if value not in options:
            raise self.refuse(f"expected one of {', '.join(options)}; not {value!r}")
        return value

    def is_text(self) -> bool:
        """Return whether a single value stands here, not a list or a mapping."""
        return isinstance(self.node, yaml.ScalarNode)

    def items(self) -> list[Entry]:
        """Return the entries of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.refuse("expected a list")
        return [
            Entry(self.source, f"{self.path}[{index}]", node, self.error)
            for index, node in enumerate(self.node.value)
        ]

    def named(self) -> dict[str, Entry]:
        """Return the entries of a mapping whose keys the file chooses; each is an id."""
        return {
            key: Entry(self.source, self._below(key), value, self.error)
            for key, (key_node, value) in self._pairs().items()
            if Entry(self.source, self._below(key), key_node, self.error).identifier()
        }

    def fields(self, required: set[str], optional: set[str] | None = None) -> dict[str, Entry]:
        """Return the entries of a mapping; unknown, repeated and missing keys are refused."""
        found: dict[str, Entry] = {}
        for key, (key_node, value_node) in self._pairs().items():
            if key not in required | (optional or set()):
                raise Entry(self.source, self._below(key), key_node, self.error).refuse(
                    "unknown key"
                )
            found[key] = Entry(self.source, self._below(key), value_node, self.error)
        if missing := sorted(required - found.keys()):
            raise self.refuse(f"missing key {missing[0]}")
        return found

    def identifier(self) -> str:
        """Return an id: letters, digits, ``_``, ``.`` and ``-``."""
        value = self.text()
        if not _ID.fullmatch(value):
            raise self.refuse(f"not usable as an id: {value!r}")
        return value

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(entry.text() for entry in self.items())

    def references(self, known: tuple[str, ...], kind: str) -> tuple[str, ...]:
        """Return a list of ids that stand elsewhere in the file, each once."""
        found: list[str] = []
        for item in self.items():
            value = item.text()
            if value not in known:
                raise item.refuse(f"no such {kind}: {value!r}")
            if value in found:
                raise item.refuse(f"the {kind} {value!r} stands twice")
            found.append(value)
        return tuple(found)

    def unique(self, read: Callable[[Entry], _T], key: Callable[[_T], str]) -> tuple[_T, ...]:
        """Read each item of a list; two with one id are refused."""
        values: dict[str, _T] = {}
        for item in self.items():
            value = read(item)
            if key(value) in values:
                raise item.refuse(f"the id {key(value)!r} stands twice")
            values[key(value)] = value
        return tuple(values.values())

    def _below(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _pairs(self) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(self.node, yaml.MappingNode):
            raise self.refuse("expected keys and values")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in self.node.value:
            key = str(key_node.value)
            if key in found:
                repeated = Entry(self.source, self._below(key), key_node, self.error)
                raise repeated.refuse("the key stands twice")
            found[key] = (key_node, value_node)
        return found


def is_identifier(text: str) -> bool:
    """Return whether ``text`` can be an id or the name of a shipped file."""
    return _ID.fullmatch(text) is not None


def read_yaml(content: bytes, source: str, error: type[Permanent]) -> Entry:
    """Return the top of a YAML file; ``source`` names it in errors.

    Aliases are refused: they can grow without bound.

    Raises:
        error: too large, not YAML, or empty; names the line.
    """
    if len(content) > MAXIMUM_BYTES:
        raise error(f"{source}: larger than {MAXIMUM_BYTES} bytes")
    try:
        for event in yaml.parse(content, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark is not None else 1
                raise error(f"{source}, line {line}: aliases are not allowed")
        node = yaml.compose(content, Loader=_LOADER)
    except yaml.MarkedYAMLError as failure:
        mark = failure.problem_mark
        line = mark.line + 1 if mark is not None else 1
        raise error(f"{source}, line {line}: not YAML ({failure.problem})") from failure
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as failure:
        raise error(f"{source}, line 1: not YAML text") from failure
    if node is None:
        raise error(f"{source}, line 1: the file is empty")
    return Entry(source, "", node, error)
