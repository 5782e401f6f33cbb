"""Values at the field paths of a profile, within one order group of a message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from dicom_node.hl7.rules import Path
from dicom_node.hl7.segments import Reading, Segment, part
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identifiers import NOBODY, Identifier

_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_LONGEST_MATCHED = 256  # characters of a value that a profile's pattern is tried on

# ORC-2 and ORC-3 stand in for an empty OBR-2 and OBR-3 (HL7 2.5.1 section 4.5.3).
_STAND_IN = {("OBR", 2): Path("ORC", 2), ("OBR", 3): Path("ORC", 3)}


class Group:
    """The segments that belong together, by name: of an order, or of a whole document message."""

    def __init__(self, reading: Reading, segments: Iterable[Segment]) -> None:
        self.reading = reading
        self.segments = tuple(segments)
        self.by_name: dict[str, list[Segment]] = {}
        for each in self.segments:
            self.by_name.setdefault(each.name, []).append(each)

    @property
    def observations(self) -> list[Segment]:
        """The OBX segments."""
        return self.by_name.get("OBX", [])

    def segment(self, name: str) -> Segment:
        """Return the first segment of a name, or an empty one."""
        found = self.by_name.get(name)
        return found[0] if found else Segment(name, [])

    def text(self, paths: Iterable[Path]) -> str:
        """Return the first value at the first path that holds one."""
        for _, _, value in self._found(paths):
            return value
        return ""

    def identifiers(
        self, paths: Iterable[Path], issuer: str, pattern: re.Pattern[str] | None = None
    ) -> tuple[Identifier, ...]:
        """Return the identifiers (EI) at the first path that holds any.

        Args:
            paths: in the order of their rank.
            issuer: assumed where EI.2 to EI.4 are empty or the path names a component.
            pattern: what an identifier looks like; its group 1, or all of it, counts. What it
                does not find in a value is no identifier.
        """
        for path in paths:
            found = [read_ei(self.reading, raw, issuer, path) for _, raw in self._repetitions(path)]
            if pattern is not None:
                found = [cut_identifier(each, pattern) for each in found]
            if kept := tuple(dict.fromkeys(each for each in found if each.value)):
                return kept
        return ()

    def uids(self, paths: Iterable[Path]) -> tuple[str, ...]:
        """Return the UIDs at the first path that holds any.

        Raises:
            ContentFault: a value there is no UID.
        """
        found: list[str] = []
        place: Path | None = None
        for path, segment, value in self._found(paths):
            if place not in (None, path):
                break
            place = path
            found.append(checked_uid(value, segment.name, path.field))
        return tuple(dict.fromkeys(found))

    def _found(self, paths: Iterable[Path]) -> Iterator[tuple[Path, Segment, str]]:
        """Yield the values at the paths, where there is one."""
        for path in paths:
            for segment, raw in self._repetitions(path):
                if value := read_part(self.reading, raw, path):
                    yield path, segment, value

    def _repetitions(self, path: Path) -> Iterator[tuple[Segment, str]]:
        """Yield the repetitions at a path of all segments of its name."""
        empty = True
        for segment in self.by_name.get(path.segment, ()):
            for raw in self.reading.repetitions(segment, path.field):
                empty = False
                yield segment, raw
        stand_in = _STAND_IN.get((path.segment, path.field))
        if empty and stand_in is not None:
            yield from self._repetitions(
                Path(stand_in.segment, stand_in.field, path.component, path.subcomponent)
            )


def read_part(reading: Reading, raw: str, path: Path) -> str:
    """Return what a path names in a repetition; of a whole field, its first component."""
    component, sub = path.component or 1, path.subcomponent or 1
    parts = raw.split(reading.delimiters.component)
    if component > len(parts):
        return ""
    subs = parts[component - 1].split(reading.delimiters.subcomponent)
    return reading.value(subs[sub - 1]) if sub <= len(subs) else ""


def read_ei(reading: Reading, raw: str, issuer: str, path: Path | None = None) -> Identifier:
    """Read an EI: the identifier, and its issuer in components 2 to 4; or one part of it."""
    if path is not None and path.component:
        return _assumed(read_part(reading, raw, path), issuer)
    components = reading.components(raw)
    declared = part(components, 2) or part(components, 3)
    value = part(components, 1)
    return Identifier(value, declared) if declared else _assumed(value, issuer)


def read_cx(reading: Reading, raw: str, issuer: str) -> Identifier:
    """Read a CX: the identifier, and its issuer (HD) in component 4."""
    components = reading.components(raw)
    declared = part(components, 4) or part(components, 4, 2)
    value = part(components, 1)
    return Identifier(value, declared) if declared else _assumed(value, issuer)


def first_identifier(found: Sequence[Identifier]) -> Identifier:
    """Return the first of them, or that of nobody."""
    return found[0] if found else NOBODY


def checked_uid(value: str, segment: str, field: int) -> str:
    """Return the value.

    Raises:
        ContentFault: it is no UID.
    """
    if not _UID.fullmatch(value):
        raise ContentFault(segment, field, 102, "the Study Instance UID is no UID")
    return value


def _assumed(value: str, issuer: str) -> Identifier:
    return Identifier(value, issuer, issuer_assumed=bool(issuer))


def cut_identifier(identifier: Identifier, pattern: re.Pattern[str]) -> Identifier:
    """Return what a profile's pattern finds in an identifier; nobody's where it finds nothing."""
    if len(identifier.value) > _LONGEST_MATCHED:
        return NOBODY
    match = pattern.search(identifier.value)
    if match is None:
        return NOBODY
    value = (match[1] if pattern.groups else match[0]) or ""
    return Identifier(value.strip(), identifier.issuer, identifier.issuer_assumed)
