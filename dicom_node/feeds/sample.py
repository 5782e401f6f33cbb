"""A folder of messages as a sample of a feed: split into fields, and read under no profile yet.

Nothing here fails on what a feed sends: what is no message, or too damaged to be split, is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.hl7.envelope import Envelope, read_envelope
from dicom_node.hl7.files import read_hl7_file
from dicom_node.hl7.text import ContentFault, Delimiters, codec_name

LARGEST_FILE = 256 * 1024**2  # bytes
_NULL = '""'
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_C1 = re.compile(rb"[\x80-\x9f]")


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the bytes of one message tell about its character set."""

    declared: str  # MSH-18 as sent
    is_ascii: bool
    is_utf8: bool
    is_as_declared: bool  # false where MSH-18 is empty
    has_c1: bool  # bytes 80 to 9F, which no ISO 8859 set prints


@dataclass(frozen=True, slots=True)
class Sampled:
    """One message, split; ``segments[i][n]`` is field n of segment i, with MSH counted like HL7."""

    envelope: Envelope
    encoding: Encoding
    delimiters: Delimiters
    segments: tuple[tuple[str, ...], ...]

    def fields(self, path: str) -> Iterator[str]:
        """Yield a field's text as sent, once for each segment of its name that has it.

        Args:
            path: segment and number, such as ``OBR-3``; what follows a dot is left aside.
        """
        name, _, number = path.partition(".")[0].partition("-")
        place = int(number)
        for each in self.segments:
            if each[0] == name and place < len(each) and each[place] not in ("", _NULL):
                yield each[place]

    def values(self, path: str) -> Iterator[str]:
        """Yield what stands at a field path: each segment, each repetition; blanks are left out."""
        _, _, inner = path.partition(".")
        component, _, sub = inner.partition(".")
        for text in self.fields(path):
            for repetition in text.split(self.delimiters.repetition):
                value = _nth(repetition, self.delimiters.component, int(component or 1))
                value = _nth(value, self.delimiters.subcomponent, int(sub or 1)).strip()
                if value and value != _NULL:
                    yield value

    def first(self, path: str) -> str:
        """Return the first value at a path; empty where there is none."""
        return next(self.values(path), "")


@dataclass(slots=True)
class Sample:
    """The messages of a folder by sender, and what was no usable message.

    ``unreadable`` maps a file, as named below the folder, to the reason.
    """

    senders: dict[str, list[Sampled]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    files: int = 0
    messages: int = 0


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder and below it in the order of their names; or the one file.

    Links are not followed, so that a sample never leaves its folder.

    Raises:
        OSError: there is no such folder or file.
    """
    if not folder.is_dir():
        folder.stat()
        return [folder]
    return sorted(each for each in folder.rglob("*") if each.is_file() and not each.is_symlink())


def messages_of(folder: Path, unreadable: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield each message of a folder with the name of its file; note what cannot be read."""
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix() if path != folder else path.name
        try:
            if path.stat().st_size > LARGEST_FILE:
                unreadable[name] = "the file is too large for a sample"
                continue
            found = list(read_hl7_file(path))
        except OSError as error:
            unreadable[name] = f"the file cannot be read: {error.strerror}"
            continue
        if not found:
            unreadable[name] = "the file is empty"
        for content in found:
            yield name, content


def read_sample(folder: Path, maximum_messages: int = 100_000) -> Sample:
    """Read the messages of a folder as a sample.

    Args:
        folder: a folder with files of any form that :mod:`dicom_node.hl7.files` reads, or one file.
        maximum_messages: reading ends there.

    Raises:
        OSError: there is no such folder.
    """
    sample = Sample(files=len(files_of(folder)))
    for name, content in messages_of(folder, sample.unreadable):
        if sample.messages >= maximum_messages:
            break
        try:
            message = split_message(content)
        except ContentFault as fault:
            sample.unreadable.setdefault(name, fault.sentence)
            continue
        sample.messages += 1
        sample.senders.setdefault(message.envelope.sender, []).append(message)
    return sample


def split_message(content: bytes) -> Sampled:
    """Split a message into fields, in whatever character set fits its bytes.

    Raises:
        ContentFault: it does not begin with MSH and usable delimiters.
    """
    envelope = read_envelope(content)
    if not envelope.is_hl7:
        raise ContentFault("MSH", 0, 100, "the message does not begin with an MSH segment")
    encoding, codec = _encoding(content, envelope.text(18))
    text = content.decode(codec, errors="replace")
    return Sampled(envelope, encoding, Delimiters.of(text), tuple(_segments(text, text[3])))


def _segments(text: str, separator: str) -> Iterator[tuple[str, ...]]:
    for line in re.split(r"[\r\n]+", text):
        name, *fields = line.split(separator)
        if not _SEGMENT.fullmatch(name):
            continue
        yield (name, separator, *fields) if name == "MSH" else (name, *fields)


def _encoding(content: bytes, declared: str) -> tuple[Encoding, str]:
    is_utf8 = _decodes(content, "utf-8")
    codec = ""
    if declared:
        try:
            codec = codec_name(declared, "ascii")
        except ContentFault:
            codec = ""
    as_declared = bool(codec) and _decodes(content, codec)
    encoding = Encoding(
        declared, content.isascii(), is_utf8, as_declared, _C1.search(content) is not None
    )
    return encoding, codec if as_declared else "utf-8" if is_utf8 else "latin-1"


def _decodes(content: bytes, codec: str) -> bool:
    try:
        content.decode(codec)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def _nth(text: str, separator: str, number: int) -> str:
    if number == 1 and separator not in text:
        return text
    parts = text.split(separator)
    return parts[number - 1] if number <= len(parts) else ""


def shown(text: str, longest: int = 40) -> str:
    """Return a peer's value fit for a terminal or a comment, and not too long."""
    plain = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text[: longest + 1]
    )
    return plain if len(plain) <= longest else plain[:longest] + "..."


def told(counts: Counter[str], most: int = 12) -> str:
    """Tell the values of a field by their counts.

    Only values that come again are told: what stands once may be about one patient.
    """
    again = [(value, count) for value, count in counts.most_common() if count > 1]
    parts = [f"{shown(value) or '(empty)'} {count}" for value, count in again[:most]]
    if rest := len(counts) - len(parts):
        parts.append(f"and {rest} others" if parts else f"{rest} different ones")
    return ", ".join(parts) or "none"
