r"""From bytes to text in HL7 v2: character sets (table 0211), delimiters and escape sequences.

Decoding is strict. A byte that the declared set does not hold is a fault of the message, never a
replacement character: names and report text must not be guessed.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache

from dicom_node.errors import NeedsReview

CHARSETS = {
    "ASCII": "ascii",
    "8859/1": "iso8859_1",
    "8859/2": "iso8859_2",
    "8859/3": "iso8859_3",
    "8859/4": "iso8859_4",
    "8859/5": "iso8859_5",
    "8859/6": "iso8859_6",
    "8859/7": "iso8859_7",
    "8859/8": "iso8859_8",
    "8859/9": "iso8859_9",
    "8859/15": "iso8859_15",
    "UNICODE": "utf_8",
    "UNICODE UTF-8": "utf_8",
    "ISO IR6": "ascii",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
}
"""Table 0211 in its own spelling. UTF-16 and UTF-32 cannot be carried by MLLP and are absent."""

_ALIASES = {
    "UTF8": "utf_8",
    "ISO88591": "iso8859_1",
    "ISO885915": "iso8859_15",
    "ISOIR100": "iso8859_1",
    "ISOIR192": "utf_8",
    "WINDOWS1252": "cp1252",
    "CP1252": "cp1252",
    "USASCII": "ascii",
    "GB18030": "gb18030",
    "BIG5": "big5",
}

# Controls that no report text holds, and the character that stands for a byte somebody lost.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")


class ContentFault(NeedsReview):
    """The bytes are safe, but what they say cannot be used until somebody looks at it.

    Args:
        segment: the segment at fault, for ERR-2.
        field: its field, 0 when the whole segment is meant.
        code: the error code of table 0357.
        sentence: the reason in plain words; it never holds a value of the message.
    """

    def __init__(self, segment: str, field: int, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.segment = segment
        self.field = field
        self.code = code
        self.sentence = sentence


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


_CODECS = {_plain(name): codec for name, codec in CHARSETS.items()} | _ALIASES


def codec_name(declared: str, default: str) -> str:
    """Return the Python codec for MSH-18, or for the feed's default where MSH-18 is empty.

    Args:
        declared: MSH-18 as sent; repetitions are separated by ``~``.
        default: a Python codec name.

    Raises:
        ContentFault: the set is not one of table 0211, or several are mixed.
    """
    names = [each for each in (part.strip() for part in declared.split("~")) if each]
    if not names:
        return codecs.lookup(default).name
    found = {_CODECS.get(_plain(each), "") for each in names} - {"ascii"} or {"ascii"}
    if len(found) > 1:
        raise ContentFault("MSH", 18, 103, "MSH-18 mixes character sets that cannot be mixed")
    codec = found.pop()
    if not codec:
        raise ContentFault("MSH", 18, 103, "MSH-18 names a character set that is not known")
    return codec


def decode(content: bytes, codec: str) -> str:
    """Decode strictly.

    Raises:
        ContentFault: a byte does not belong to the set, or is a control character in it.
    """
    try:
        text = content.decode(codec, errors="strict")
    except UnicodeDecodeError as error:
        raise ContentFault(
            "MSH", 18, 102, f"byte {error.start} is not {codec}, the character set in force"
        ) from error
    if wrong := _UNPRINTABLE.search(text):
        raise ContentFault(
            "MSH", 18, 102, f"character {wrong.start()} is no printable character of {codec}"
        )
    return text


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2: how this message separates its parts."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str

    @classmethod
    def of(cls, text: str) -> Delimiters:
        """Read them from the first segment.

        Raises:
            ContentFault: MSH-2 is not four or five different punctuation characters.
        """
        field = text[3:4]
        encoding = text[4:].split(field, 1)[0] if field else ""
        marks = field + encoding
        usable = len(encoding) in (4, 5) and len(set(marks)) == len(marks)
        if not usable or any(mark.isalnum() or mark.isspace() for mark in marks):
            raise ContentFault("MSH", 2, 102, "MSH-2 does not hold four different delimiters")
        return cls(field, *encoding[:4])


_FIXED = {"H": "", "N": "", ".br": "\n", ".fi": "", ".nf": "", ".ce": "\n"}
_LINES = re.compile(r"\.sp\+?(\d{0,2})")
_INDENT = re.compile(r"\.(?:in|ti|sk)[+-]?\d{0,2}")


def undo_escapes(text: str, delimiters: Delimiters, codec: str) -> str:
    r"""Undo the escape sequences of HL7 v2 (2.5.1 section 2.7); a stray escape mark stays.

    ``\Xhh..\`` gives bytes in the character set of the message.

    Raises:
        ContentFault: the bytes of an ``\X..\`` do not belong to that set.
    """
    mark = delimiters.escape
    if mark not in text:
        return text
    letters = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": mark,
    } | _FIXED

    def replace(match: re.Match[str]) -> str:
        body = match.group(1)
        if body in letters:
            return letters[body]
        if lines := _LINES.fullmatch(body):
            return "\n" * int(lines.group(1) or 1)
        if _INDENT.fullmatch(body):
            return " "
        return _line_ends(decode(bytes.fromhex(body[1:]), codec))

    return _pattern(mark).sub(replace, text)


@lru_cache(maxsize=8)
def _pattern(mark: str) -> re.Pattern[str]:
    e = re.escape(mark)
    known = r"[FSTREHN]|\.(?:br|fi|nf|ce)|\.sp\+?\d{0,2}|\.(?:in|ti|sk)[+-]?\d{0,2}"
    return re.compile(f"{e}({known}|X(?:[0-9A-Fa-f]{{2}})+){e}")


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
