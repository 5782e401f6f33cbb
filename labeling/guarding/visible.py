"""The letters of a text as a person sees them: nothing hidden, nothing disguised.

Characters without a shape are removed, compatibility forms (full-width, mathematical, enclosed)
become plain ones, marks struck through letters go, and letters of other scripts that look like
Latin ones are read as those within a Latin text (the confusables of Unicode TS 39, as far as they
make Latin letters). What a clinical text needs stays: accents, superscripts, fractions, units.
"""

from __future__ import annotations

import re
import unicodedata

_SHAPELESS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and signs that are drawn as nothing, though Unicode calls them no control."""

_MARKS = (
    (0x0300, 0x036F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF),
    (0xFE00, 0xFE0F), (0xFE20, 0xFE2F), (0xE0100, 0xE01EF),
)  # fmt: skip
"""Marks put onto any letter, and selectors of variants; those that belong to a script stay."""

_MOST_MARKS = 30  # on one letter, as in stream-safe text (Unicode TR 15); no language has so many
_PLAIN_UNTIL = 0x100  # Latin-1 stays as it is: units, ordinals and fractions of reports

_PAIRS = (
    # Cyrillic
    "аa вb еe ёe зz иu йu іi кk мm нh оo рp сc тt уy ѕs хx һh јj ԁd ԛq ԝw ѡw пn гr ѵv ҽe ӏl "
    "АA ВB ЕE ЁE КK МM НH ОO РP СC ТT УY ХX ІI ЅS ЈJ ԌG ԚQ ԜW ҮY ѴV ӀI "
    # Greek
    "αa βb γy εe ηn ιi κk νv οo ρp τt υu χx ωw ϲc ϳj "
    "ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX ϹC "
    # Armenian, and small capitals of phonetic writing
    "օo ոn սu ցg հh յj զq "
    "ɑa ɡg ɩi ɪi ʏy ɴn ʀr ʟl ᴀa ʙb ᴄc ᴅd ᴇe ɢg ʜh ᴊj ᴋk ᴍm ᴏo ᴘp ꜱs ᴛt ᴜu ᴠv ᴡw ᴢz"
)
_LOOKALIKES = {ord(pair[0]): pair[1] for pair in _PAIRS.split()}
_LATIN_END = 0x250
_WORD = re.compile(r"[^\W\d_]{2,}")


class _Shown(dict[int, str]):
    """Translates characters one by one; each is looked up in Unicode once."""

    def __missing__(self, code: int) -> str:
        self[code] = shown = _shown(chr(code))
        return shown


_TABLE = _Shown()


def visible(text: str) -> str:
    """Return a text in the letters that a person sees; line ends become line feeds."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = unicodedata.normalize("NFC", text if text.isascii() else _without_towers(text))
    text = text.translate(_TABLE)
    if text.isascii() or not (_mostly_latin(text) or any(map(_is_mixed, _WORD.findall(text)))):
        return text
    return _WORD.sub(lambda match: _read_as_latin(match.group()), text)


def _without_towers(text: str) -> str:
    """Cut marks piled up on one letter: sorting them takes time that grows with their square."""
    kept: list[str] = []
    pile = 0
    for char in text:
        pile = pile + 1 if unicodedata.combining(char) else 0
        if pile <= _MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def _shown(char: str) -> str:
    if char in "\n\t":
        return char
    category = unicodedata.category(char)
    if category == "Cf" or char in _SHAPELESS or _is_mark(char):
        return ""  # joined words must stay joined
    if category[0] == "C":
        return " "
    if ord(char) < _PLAIN_UNTIL or category == "No":
        return char
    plain = unicodedata.normalize("NFKC", char)
    return plain if plain.isascii() or plain.isalpha() else char


def _is_mark(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _MARKS)


def _mostly_latin(text: str) -> bool:
    letters = [char for char in text if char.isalpha()]
    return sum(1 for char in letters if ord(char) < _LATIN_END) * 2 > len(letters)


def _is_mixed(word: str) -> bool:
    return _read_as_latin(word) != word and any(char.isascii() for char in word)


def _read_as_latin(word: str) -> str:
    """Return a word in Latin letters where all its others look like such, else as it stands."""
    if word.isascii():
        return word
    folded = word.translate(_LOOKALIKES)
    return folded if all(ord(char) < _LATIN_END for char in folded) else word
