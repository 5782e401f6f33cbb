"""Finds the language of a report: an n-gram classifier, and a pack's own words for clipped notes.

The classifier is py3langid (langid.py, Lui and Baldwin, ACL 2012, retrained for 0.4). It reads
whole sentences well and notes of three abbreviations badly, so its word counts only as far as its
probability goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_CLEAR = ((2, 0.5), (5, 0.2))
"""Up to so many words a classifier that is less sure than this has seen too little to say."""

_CLEAR_FROM_THERE_ON = 0.05
_SOME_WORDS, _MOST_WORDS = 0.3, 0.6
_SURE = 0.5
_LAST_LATIN = "\u024f"
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Impression:
    """What the classifier says of a text: ISO 639 codes with probabilities, the likeliest first."""

    ranking: tuple[tuple[str, float], ...]

    @property
    def code(self) -> str:
        """The likeliest language."""
        return self.ranking[0][0]

    @property
    def probability(self) -> float:
        """How likely that is."""
        return self.ranking[0][1]


def impression(text: str) -> Impression:
    """Return what the classifier says; the first call loads its model (0.7 s, 5 MB)."""
    # Dictated in capitals, English looks like nothing that the model has read.
    read = text.lower() if _mostly(text, str.isupper) else text
    ranking = _identifier().rank(read.encode("utf-8", "replace").decode())
    return Impression(tuple((str(code), float(share)) for code, share in ranking))


def choose(text: str, words: Mapping[str, frozenset[str]], codes: Mapping[str, str]) -> str | None:
    """Return the code of the pack that can read ``text``, or None where none can.

    Args:
        text: a report.
        words: by pack, its frequent words in lower case; the first pack is the house's language.
        codes: by code of the classifier, the pack that reads it.

    A language the classifier sees wins. Where it sees another one, a pack may still know the words
    of a note, and where it saw too little to say, the pack that knows most of them reads it: a note
    without a word of any language (``L4/5 HNP``) is the house's. Another script is another
    language, and a letter with an accent is a word's own testimony, however short the note.
    """
    seen = impression(text)
    if seen.code in codes:
        return codes[seen.code]
    found = [word for word in _WORD.findall(text.lower()) if len(word) > 1]
    shares = {code: _share(found, known) for code, known in words.items()}
    best = max(shares, key=lambda code: shares[code])
    if _mostly(text, lambda char: char > _LAST_LATIN):
        return best if shares[best] >= _SOME_WORDS else None
    if shares[best] >= (_MOST_WORDS if seen.probability >= _SURE else _SOME_WORDS):
        return best
    return best if seen.probability < _clear(found) else None


def _clear(words: Sequence[str]) -> float:
    """Return the probability from which on the classifier has seen a language in these words."""
    if not all(word.isascii() for word in words):
        return _CLEAR_FROM_THERE_ON
    return next((share for most, share in _CLEAR if len(words) <= most), _CLEAR_FROM_THERE_ON)


def _share(found: Sequence[str], known: frozenset[str]) -> float:
    return sum(1 for word in found if word in known) / len(found) if found else 0.0


def _mostly(text: str, kind: Callable[[str], bool]) -> bool:
    """Tell whether more than half of the letters are of a kind."""
    letters = [char for char in text if char.isalpha()]
    return sum(1 for char in letters if kind(char)) * 2 > len(letters)


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
