"""The small parts of a schema file: codes, sites, severities and words of place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from labeling.located_yaml import Entry
from labeling.vocabulary import WHOLE, Code, Location, Severity, Site

_LOCATION = ({"id", "name"}, {"synonyms", "excludes", "means"})


def read_id(entry: Entry) -> str:
    """Return an id that no other part of labeling uses for something of its own."""
    value = entry.identifier()
    if value == WHOLE:
        raise entry.refuse(f"not usable as an id: {value!r}")
    return value


def read_code(entry: Entry) -> Code:
    """Return a coded concept; what does not fit the DICOM attributes is refused."""
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


def read_site(entry: Entry) -> Site:
    """Return a place at which observations are made."""
    fields = entry.fields({"id", "name", "code"}, {"synonyms"})
    return Site(
        id=read_id(fields["id"]),
        name=fields["name"].text(),
        code=read_code(fields["code"]),
        synonyms=read_texts(fields, "synonyms"),
    )


def read_texts(fields: Mapping[str, Entry], key: str) -> tuple[str, ...]:
    """Return the list of texts at a key that may be left out."""
    return fields[key].texts() if key in fields else ()


def read_scales(entry: Entry) -> dict[str, tuple[Severity, ...]]:
    """Return the severity scales of a file by name."""
    return {name: read_scale(each) for name, each in entry.named().items()}


def read_scale(entry: Entry) -> tuple[Severity, ...]:
    """Return the severities of one scale, the least first."""
    steps = entry.unique(_severity, lambda each: each.id)
    if not steps:
        raise entry.refuse("a scale needs at least one severity; the least stands first")
    return steps


def _severity(entry: Entry) -> Severity:
    fields = entry.fields({"id", "name"}, {"synonyms"})
    return Severity(read_id(fields["id"]), fields["name"].text(), read_texts(fields, "synonyms"))


def read_locations(entry: Entry) -> tuple[Location, ...]:
    """Read the words of place; one that excludes another is excluded by it."""
    listed = entry.unique(_location, lambda each: each.id)
    known = tuple(each.id for each in listed)
    excluded: dict[str, set[str]] = {each: set() for each in known}
    for item, location in zip(entry.items(), listed, strict=True):
        fields = item.fields(*_LOCATION)
        for key in ("excludes", "means"):
            if key in fields:
                fields[key].references(known, "location")
        if location.id in location.excludes:
            raise fields["excludes"].refuse("a location cannot exclude itself")
        for other in location.excludes:
            excluded[location.id].add(other)
            excluded[other].add(location.id)
    return tuple(
        replace(each, excludes=tuple(other for other in known if other in excluded[each.id]))
        for each in listed
    )


def _location(entry: Entry) -> Location:
    fields = entry.fields(*_LOCATION)
    return Location(
        id=read_id(fields["id"]),
        name=fields["name"].text(),
        synonyms=read_texts(fields, "synonyms"),
        excludes=read_texts(fields, "excludes"),
        means=read_texts(fields, "means"),
    )
