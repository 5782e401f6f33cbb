"""A message while it is read: its text, delimiters and segments, and the profile of its feed.

Everything is found by splitting text, which takes time in proportion to the message's length
whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from dicom_node.feeds.profile import FeedProfile
from dicom_node.hl7.envelope import Envelope
from dicom_node.hl7.rules import Rules, rules_of
from dicom_node.hl7.text import ContentFault, Delimiters, Escapes, codec_name, decode
from dicom_node.hl7.times import with_zone

MAXIMUM_SEGMENTS = 50_000
"""Of one message; a report has some dozens."""

MAXIMUM_LINES = 500_000
"""Of one message, empty ones and those of broken Base64 included."""

MAXIMUM_ESCAPE_MARKS = 1_000_000
"""In one message; each escape sequence has two."""

MAXIMUM_REPETITIONS = 50
"""Of a field with identifiers, names or accession numbers."""

MAXIMUM_FIELD = 10_000
"""Characters of such a field."""

_SEGMENT_NAME = re.compile(r"[A-Z][A-Z0-9]{2}", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
_NULL = '""'  # HL7 v2: the value is to be deleted; here it means that there is none


class Segment:
    """A segment's fields as sent; ``segment[n]`` is XXX-n, empty where absent (MSH-1 counts)."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: list[str]) -> None:
        self.name = name
        self.fields = fields

    def __getitem__(self, number: int) -> str:
        return self.fields[number] if number < len(self.fields) else ""

    def padded(self, count: int) -> list[str]:
        """Return the name and at least ``count`` - 1 fields, empty ones where absent."""
        missing = count - len(self.fields)
        return self.fields if missing <= 0 else self.fields + [""] * missing


class Reading:
    """One message's envelope, profile, delimiters and segments.

    Raises:
        ContentFault: text, delimiters or segments of the message are not as they must be.
    """

    def __init__(
        self, content: bytes, envelope: Envelope, profile_of: Callable[[str], FeedProfile]
    ) -> None:
        self.envelope = envelope
        self.profile = profile_of(envelope.sender)
        self.rules: Rules = rules_of(self.profile)
        declared = "" if self.profile.charset_overrides else envelope.text(18)
        self.codec = codec_name(declared, self.profile.charset or "ascii")
        text = decode(content, self.codec)
        self.delimiters = Delimiters.of(text)
        if text.count(self.delimiters.escape) > MAXIMUM_ESCAPE_MARKS:
            raise ContentFault("MSH", 0, 102, "the message has far too many escape sequences")
        self._escapes = Escapes(self.delimiters, self.codec)
        self.segments = tuple(_split(text, self.delimiters.field))
        self.message_time = self.time(self.first(self.segments[0][7]))

    def plain(self, value: str) -> str:
        """Undo escapes; HL7's explicit null is no value."""
        if value == _NULL:
            return ""
        return self._escapes.undo(value)

    def value(self, value: str) -> str:
        """Undo escapes in a value that is no report text: it has one line, and no outer spaces."""
        text = self._escapes.undo(value).strip()
        if text == _NULL:
            return ""
        return " ".join(text.split()) if "\n" in text or "\r" in text else text

    def first(self, value: str) -> str:
        """The first subcomponent of a field's first component and repetition, as text."""
        if not value or value.isalnum():
            return value
        marks = self.delimiters
        for mark in (marks.repetition, marks.component, marks.subcomponent):
            if mark in value:
                value = value.split(mark, 1)[0]
        return self.value(value)

    def repetitions(self, segment: Segment, number: int) -> list[str]:
        """Return the repetitions of a field that hold something, as sent.

        Raises:
            ContentFault: the field is longer, or repeats more, than any sound one.
        """
        value = segment[number]
        if not value or value == _NULL:
            return []
        if len(value) > MAXIMUM_FIELD or value.count(self.delimiters.repetition) >= (
            MAXIMUM_REPETITIONS
        ):
            raise ContentFault(segment.name, number, 102, "the field is far too long")
        return [each for each in value.split(self.delimiters.repetition) if each]

    def components(self, repetition: str) -> list[list[str]]:
        """Take a repetition apart: components, each a list of its subcomponents, as text."""
        marks = self.delimiters
        return [
            [self.value(sub) for sub in component.split(marks.subcomponent)]
            for component in repetition.split(marks.component)
        ]

    def time(self, value: str) -> str:
        """Return a time with the zone of the feed where the sender gave none."""
        return with_zone(value, self.profile.time_zone)


def part(components: list[list[str]], number: int, sub: int = 1) -> str:
    """Return component ``number``, subcomponent ``sub``, both from 1; empty where absent."""
    subs = components[number - 1] if number <= len(components) else []
    return subs[sub - 1] if sub <= len(subs) else ""


def _split(text: str, separator: str) -> Iterator[Segment]:
    """Yield the segments; they end at CR, or at LF where the message holds no CR.

    Some systems break the lines of Base64 with CR. Such a line joins the OBX-5 that it continues,
    which is sure: it is no segment, and the data would not be whole without it.
    """
    end = "\r" if "\r" in text else "\n"
    if text.count(end) > MAXIMUM_LINES:
        raise ContentFault("MSH", 0, 102, "the message has far too many lines")
    count = 0
    current: Segment | None = None
    data: list[str] = []
    for number, line in enumerate(text.split(end), start=1):
        line = line.strip("\n")
        if not line or line.isspace():
            continue
        fields = line.split(separator)
        name = fields[0]
        if not _SEGMENT_NAME.fullmatch(name):
            if current is None or not _continues(current, name):
                raise ContentFault("MSH", 0, 100, f"line {number} of the message is no segment")
            data.append(name)
            if len(fields) > 1:
                current.fields[5] += "".join(data)
                current.fields += fields[1:]
                data = []
            continue
        if current is not None:
            if data:
                current.fields[5] += "".join(data)
                data = []
            yield current
        if name == "MSH":
            fields.insert(1, separator)
        current = Segment(name, fields)
        count += 1
        if count > MAXIMUM_SEGMENTS:
            raise ContentFault("MSH", 0, 102, "the message has far too many segments")
    if current is not None:
        if data:
            current.fields[5] += "".join(data)
        yield current


def _continues(segment: Segment, text: str) -> bool:
    """Tell whether a line can be the next piece of Base64 in an OBX-5 that is still open."""
    return (
        segment.name == "OBX"
        and len(segment.fields) == 6
        and segment[2] == "ED"
        and _BASE64.fullmatch(text) is not None
    )
