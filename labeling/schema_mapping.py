"""Mappings from a schema to the findings of somebody else's labels, as data.

A mapping is a YAML file beside the schema (``chest.gold14.yaml``): for each finding the
observations that make it up. So labels are compared with a public data set, or given in its
terms, without a word of code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from labeling.decision import is_implied
from labeling.errors import Permanent
from labeling.labeler import LabelResult
from labeling.located_yaml import Entry, is_identifier, read_yaml
from labeling.vocabulary import WHOLE, LabelSchema, State


class InvalidMapping(Permanent):
    """A mapping file cannot be used; the message says in which line and at which key."""


@dataclass(frozen=True)
class Finding:
    """A finding of the other vocabulary.

    Args:
        name: as it is called there.
        observations: ids of the schema; the first is the finding's own, the others are kinds of it.
        implied: whether a label counts that is present only because a child of it is.
    """

    name: str
    observations: tuple[str, ...]
    implied: bool = True


@dataclass(frozen=True)
class SchemaMapping:
    """The findings of another vocabulary in terms of a schema."""

    schema: str
    title: str
    findings: tuple[Finding, ...]

    def states(self, results: Iterable[LabelResult]) -> dict[str, State]:
        """Return the state of each finding for one report, from the labels of the whole report.

        Where the finding's own label failed, the finding did.
        """
        given = {each.observation: each for each in results if each.site == WHOLE}
        return {
            finding.name: rolled_up([_state(given[each], finding) for each in finding.observations])
            for finding in self.findings
            if all(each in given for each in finding.observations)
        }


def rolled_up(states: Sequence[State]) -> State:
    """Return the state of a finding from its own state, which stands first, and those of its kinds.

    Precedence (MAPLEZ, arXiv 2403.04024): present, uncertain, the finding's own absence, stable,
    not mentioned; that a kind of it is absent says nothing of the finding.
    """
    own = states[0]
    if own is State.FAILED:
        return own
    for state in (State.PRESENT, State.UNCERTAIN):
        if state in states:
            return state
    if own is State.ABSENT:
        return own
    return State.STABLE_UNKNOWN if State.STABLE_UNKNOWN in states else State.NOT_MENTIONED


def shipped_mapping(name: str, schema: LabelSchema) -> SchemaMapping:
    """Return a mapping that comes with the package, for example ``chest.gold14``.

    Raises:
        InvalidMapping: there is none of this name, or it is for another schema.
    """
    file = resources.files("labeling") / "schemas" / f"{name}.yaml"
    if not is_identifier(name) or not file.is_file():
        raise InvalidMapping(f"no mapping named {name!r} comes with the package")
    return parse_mapping(file.read_bytes(), f"{name}.yaml", schema)


def load_mapping(path: Path, schema: LabelSchema) -> SchemaMapping:
    """Load a mapping file.

    Raises:
        InvalidMapping: unreadable, or not a mapping for this schema; names the line and the key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidMapping(f"{path.name}: cannot be read ({error.strerror})") from error
    return parse_mapping(content, path.name, schema)


def parse_mapping(content: bytes, source: str, schema: LabelSchema) -> SchemaMapping:
    """Turn the bytes of a mapping file into a mapping for ``schema``.

    Raises:
        InvalidMapping: names the line and the key.
    """
    top = read_yaml(content, source, InvalidMapping).fields({"schema", "title", "findings"})
    if top["schema"].text() != schema.name:
        raise top["schema"].refuse(f"this mapping is not for the schema {schema.name!r}")
    known = tuple(each.id for each in schema.observations)
    findings = tuple(
        _finding(name, entry, known) for name, entry in top["findings"].named().items()
    )
    if not findings:
        raise top["findings"].refuse("at least one finding is needed")
    return SchemaMapping(schema.name, top["title"].text(), findings)


def _finding(name: str, entry: Entry, known: tuple[str, ...]) -> Finding:
    fields = entry.fields({"observations"}, {"implied"})
    observations = fields["observations"].references(known, "observation")
    if not observations:
        raise fields["observations"].refuse("at least one observation is needed")
    return Finding(name, observations, fields["implied"].flag() if "implied" in fields else True)


def _state(result: LabelResult, finding: Finding) -> State:
    if not finding.implied and is_implied(result):
        return State.NOT_MENTIONED
    return result.state
