"""Reads YAML files that people write; whatever is wrong is named by file, line and key."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

MAXIMUM_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """One value of a file: where it stands, how to reach it, its node, and the error to raise."""

    source: str
    path: str
    node: yaml.Node
    error: type[Exception]

    def refuse(self, reason: str) -> Exception:
        """Return the error that names this place."""
        line = self.node.start_mark.line + 1
        return self.error(f"{self.source}, line {line}, {self.path or 'top level'}: {reason}")

    def text(self) -> str:
        """Return a text as it was written; a bare number, date or yes/no is refused."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.refuse("expected a text")
        if self.node.tag != "tag:yaml.org,2002:str":
            raise self.refuse("expected a text; write numbers and yes/no in quotes")
        if not self.node.value.strip():
            raise self.refuse("must not be empty")
        return str(self.node.value)

    def items(self) -> list[Entry]:
        """Return the entries of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.refuse("expected a list")
        return [
            Entry(self.source, f"{self.path}[{index}]", node, self.error)
            for index, node in enumerate(self.node.value)
        ]

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(entry.text() for entry in self.items())

    def mapping(self) -> dict[str, Entry]:
        """Return the entries of a mapping with any keys; a repeated key is refused."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.refuse("expected keys and values")
        found: dict[str, Entry] = {}
        for key_node, value_node in self.node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.refuse("expected a word as key")
            key = str(key_node.value)
            path = f"{self.path}.{key}" if self.path else key
            if key in found:
                raise Entry(self.source, path, key_node, self.error).refuse("the key stands twice")
            found[key] = Entry(self.source, path, value_node, self.error)
        return found

    def fields(self, required: set[str], optional: set[str] | None = None) -> dict[str, Entry]:
        """Return the entries of a mapping; unknown, repeated and missing keys are refused."""
        found = self.mapping()
        for key, entry in found.items():
            if key not in required | (optional or set()):
                raise entry.refuse("unknown key")
        if missing := sorted(required - found.keys()):
            raise self.refuse(f"missing key {missing[0]}")
        return found


def top_entry(content: bytes, source: str, error: type[Exception]) -> Entry:
    """Return the top of a YAML file; ``source`` names it in errors of class ``error``."""
    if len(content) > MAXIMUM_BYTES:
        raise error(f"{source}: larger than {MAXIMUM_BYTES} bytes")
    try:
        # The safe loader builds nodes only; aliases would let a small file grow without end.
        text = content.decode("utf-8-sig")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise error(f"{source}: aliases are not read; write the value out")
        node = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        reason = getattr(problem, "problem", None) or "not UTF-8"
        raise error(f"{source}{line}: not YAML: {reason}") from problem
    if node is None:
        raise error(f"{source}: the file is empty")
    return Entry(source, "", node, error)
