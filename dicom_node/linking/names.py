"""Whether two person names can be one person's (R3): names never make a link, they only veto.

Names are spelled, married, abbreviated and transliterated in many ways. So they are compared word
by word within each script, after NFKC, without case and accents. They contradict each other when
no word of them agrees, or when both give first names and none of those agree: twins share the rest.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

PLACEHOLDERS = frozenset(
    "ANON ANONYMOUS BABY BB BG BOY DAUGHTER FEMALE GIRL INFANT MALE NEWBORN OF SON TRIPLET TWIN "
    "UNBEKANNT UNKNOWN UNNAMED".casefold().split()
)
"""Words that stand where a name is not known yet."""

_UNDECOMPOSED = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i", "ħ": "h"}
)
_WORD = re.compile(r"[^\W\d_]+")
_TRANSCRIBED = re.compile(r"(?<=[aou])e")
_LONGEST = 256  # characters that are looked at; PN has 64 in each component group


class _Name(NamedTuple):
    """The words of one script: family name, and given names with middle names."""

    family: frozenset[str]
    given: frozenset[str]

    @property
    def words(self) -> frozenset[str]:
        return self.family | self.given


def alike(one: str, other: str) -> bool | None:
    """Tell whether two names (DICOM PN) may be one person's; None where they cannot be compared.

    Names in different scripts cannot be compared; where several scripts can, all must agree.
    """
    if not one or not other:
        return None
    first, second = read_name(one), read_name(other)
    found = [_alike(first[script], second[script]) for script in first.keys() & second.keys()]
    if False in found:
        return False
    return True if True in found else None


def changed(one: str, other: str) -> bool:
    """Tell whether two names that are both known differ in any word."""
    return bool(one and other) and read_name(one) != read_name(other)


@lru_cache(maxsize=65536)
def read_name(text: str) -> dict[str, _Name]:
    """Return the words of a name by script, from all its component groups (PS3.5 6.2.1)."""
    text = text[:_LONGEST]
    found: dict[str, tuple[set[str], set[str]]] = {}
    for group in (text if text.isascii() else unicodedata.normalize("NFKC", text)).split("="):
        for place, component in enumerate(group.split("^")[:3]):
            for word in _WORD.findall(_fold(component)):
                if word not in PLACEHOLDERS:
                    found.setdefault(_script(word), (set(), set()))[place > 0].add(word)
    return {
        script: _Name(frozenset(family), frozenset(given))
        for script, (family, given) in found.items()
    }


def _fold(text: str) -> str:
    if text.isascii():
        return _TRANSCRIBED.sub("", text.casefold())
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_UNDECOMPOSED))
    letters = "".join(each for each in decomposed if not unicodedata.combining(each))
    return _TRANSCRIBED.sub("", letters.casefold())


def _script(word: str) -> str:
    return "LATIN" if word[0].isascii() else unicodedata.name(word[0], "?").split(" ")[0]


def _alike(one: _Name, other: _Name) -> bool | None:
    if one == other:
        return True
    first, second = _full(one.words), _full(other.words)
    if not first or not second:
        return None
    if first.isdisjoint(second) and not _any(first, second, _nearly):
        return False
    if not one.given or not other.given or not one.given.isdisjoint(other.given):
        return True
    # Given and family name may stand in each other's place.
    if one.given & other.family and other.given & one.family:
        return True
    return _any(one.given, other.given, _short_for)


def _full(words: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in words if len(word) > 1 or not word.isascii())


def _any(first: frozenset[str], second: frozenset[str], agree: Callable[[str, str], bool]) -> bool:
    return any(agree(one, other) for one in first for other in second)


def _short_for(one: str, other: str) -> bool:
    """Tell whether one is the beginning of the other (an initial, Alex of Alexander), or a slip."""
    return one.startswith(other) or other.startswith(one) or _nearly(one, other)


def _nearly(one: str, other: str) -> bool:
    """Tell whether two words of four letters or more differ by one slip of the hand."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if len(short) < 4 or len(long) - len(short) > 1:
        return False
    start = 0
    while start < len(short) and short[start] == long[start]:
        start += 1
    if len(short) < len(long):
        return short[start:] == long[start + 1 :]
    swapped = short[start : start + 2] == long[start : start + 2][::-1]
    return short[start + 1 :] == long[start + 1 :] or (
        swapped and short[start + 2 :] == long[start + 2 :]
    )
