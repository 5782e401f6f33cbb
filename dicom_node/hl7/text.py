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
        encoding = text[4:64].split(field, 1)[0] if field else ""
        marks = field + encoding
        usable = len(encoding) in (4, 5) and len(set(marks)) == len(marks)
        if not usable or any(mark.isalnum() or mark.isspace() for mark in marks):
            raise ContentFault("MSH", 2, 102, "MSH-2 does not hold four different delimiters")
        return cls(field, *encoding[:4])


_FIXED = {"H": "", "N": "", ".br": "\n", ".fi": "", ".nf": "", ".ce": "\n"}
_LINES = re.compile(r"\.sp\+?(\d{0,2})", re.ASCII)
_LONG = 8192  # characters
_MOST_LINES = 10  # of one sequence: six characters must not become a hundred
_INDENT = re.compile(r"\.(?:in|ti|sk)[+-]?\d{0,2}", re.ASCII)


class Escapes(dict[str, str]):
    r"""The escape sequences of one message (HL7 v2.5.1 section 2.7): what their bodies stand for.

    ``\Xhh..\`` gives bytes in the character set of the message. Each body is worked out once.
    """

    def __init__(self, delimiters: Delimiters, codec: str) -> None:
        super().__init__(_FIXED)
        self["F"] = delimiters.field
        self["S"] = delimiters.component
        self["T"] = delimiters.subcomponent
        self["R"] = delimiters.repetition
        self["E"] = delimiters.escape
        self._mark = delimiters.escape
        self._sequence = _sequence(delimiters.escape)
        self._codec = codec

    def undo(self, text: str) -> str:
        r"""Undo the escape sequences; a stray escape mark stays.

        Raises:
            ContentFault: the bytes of an ``\\X..\\`` do not belong to the character set.
        """
        if self._mark not in text:
            return text
        # Text and bodies of sequences in turn. A long text may hold millions of them; splitting
        # it at the mark is the fastest way, and right where every mark belongs to a sequence.
        pieces = text.split(self._mark) if len(text) > _LONG else []
        if len(pieces) % 2 == 0 or not all(map(_BODY.fullmatch, set(pieces[1::2]))):
            pieces = self._sequence.split(text)
        pieces[1::2] = [self[body] for body in pieces[1::2]]
        return "".join(pieces)

    def __missing__(self, body: str) -> str:
        if lines := _LINES.fullmatch(body):
            meaning = "\n" * min(int(lines.group(1) or 1), _MOST_LINES)
        elif _INDENT.fullmatch(body):
            meaning = " "
        else:
            meaning = _line_ends(decode(bytes.fromhex(body[1:]), self._codec))
        self[body] = meaning
        return meaning


def undo_escapes(text: str, delimiters: Delimiters, codec: str) -> str:
    """Undo the escape sequences of one text.

    Raises:
        ContentFault: see :meth:`Escapes.undo`.
    """
    return Escapes(delimiters, codec).undo(text)


_KNOWN = (
    r"[FSTREHN]|\.(?:br|fi|nf|ce)|\.sp\+?\d{0,2}|\.(?:in|ti|sk)[+-]?\d{0,2}"
    r"|X(?:[0-9A-Fa-f]{2})++"
)
_BODY = re.compile(_KNOWN, re.ASCII)


@lru_cache(maxsize=8)
def _sequence(mark: str) -> re.Pattern[str]:
    e = re.escape(mark)
    return re.compile(f"{e}({_KNOWN}){e}", re.ASCII)


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
