"""The words of the rule labeler: per schema a file of patterns, else the schema's own synonyms."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from labeling.errors import Permanent
from labeling.language import ENGLISH, LanguagePack
from labeling.located_yaml import Entry, read_yaml
from labeling.vocabulary import LabelSchema, Observation

_SUFFIX = ".rules.yaml"
_WORD = re.compile(r"[A-Za-z]{7,}")


class InvalidLexicon(Permanent):
    """The file of rule words cannot be used."""


class NoLexicon(Permanent):
    """A language has no words for a schema."""


@dataclass(frozen=True)
class Terms:
    """The compiled patterns of one observation."""

    present: re.Pattern[str]
    absent: re.Pattern[str]
    ignore: re.Pattern[str]


@dataclass(frozen=True)
class Lexicon:
    """Patterns by observation id, spellings to correct to, and a digest of both."""

    terms: dict[str, Terms]
    words: frozenset[str]
    digest: str

    def correct(self, sentence: str) -> str:
        """Return the sentence with near misses of known words spelled right."""
        if not self.words:
            return sentence
        return _WORD.sub(lambda match: _nearest(match.group(), self.words), sentence)


def load_lexicon(schema: LabelSchema, pack: LanguagePack | None = None) -> Lexicon:
    """Return the words of a schema's findings in a language; its own synonyms always count.

    A pack brings them as ``SCHEMA.rules.yaml``. English has them beside the schemas that ship, and
    for a site's own schema its synonyms suffice.

    Raises:
        InvalidLexicon: the file is not what it should be; names file, line and key.
        NoLexicon: a pack other than English has no words for this schema.
    """
    source = f"{schema.name}{_SUFFIX}"
    content = pack.lexicons.get(schema.name) if pack is not None else None
    if content is None and (pack is None or pack.code == ENGLISH):
        file = resources.files("labeling") / "schemas" / source
        content = file.read_bytes() if file.is_file() else b"{}"
    if content is None:
        raise NoLexicon(f"the pack {pack.code if pack else ENGLISH} holds no {source}")
    top = read_yaml(content, source, InvalidLexicon).fields(set(), {"words", "observations"})
    terms = top["observations"].named() if "observations" in top else {}
    compiled = {each.id: _compile(each, terms.get(each.id)) for each in schema.observations}
    words = frozenset(top["words"].texts()) if "words" in top else frozenset()
    digest = hashlib.sha256(content + schema.digest.encode()).hexdigest()
    return Lexicon(compiled, words, digest)


def _compile(observation: Observation, entry: Entry | None) -> Terms:
    found = entry.fields(set(), {"present", "absent", "ignore"}) if entry is not None else {}
    terms = {key: tuple(map(_pattern, each.items())) for key, each in found.items()}
    names = {observation.name, *observation.synonyms}
    plain = [rf"(?<!\w){_plain(name)}(?!\w)" for name in sorted(names, key=len, reverse=True)]
    return Terms(
        present=_any([*terms.get("present", ()), *plain]),
        absent=_any(terms.get("absent", ())),
        ignore=_any(terms.get("ignore", ())),
    )


def _pattern(entry: Entry) -> str:
    text = entry.text()
    try:
        re.compile(text)
    except re.error as error:
        raise entry.refuse(f"not a regular expression: {error.msg}") from error
    return text


def _plain(name: str) -> str:
    return r"\s+".join(re.escape(word) for word in name.split())


def _any(patterns: tuple[str, ...] | list[str]) -> re.Pattern[str]:
    """Join alternatives; each is tried at a position in the order of the file."""
    joined = "|".join(f"(?:{pattern})" for pattern in patterns)
    # Not from within a word: "abnormal alignment" is not "normal alignment".
    return re.compile(rf"(?<![A-Za-z])(?:{joined})" if joined else r"(?!)", re.IGNORECASE)


@lru_cache(maxsize=20_000)
def _nearest(word: str, words: frozenset[str]) -> str:
    """Return the known word within one edit (two from ten letters on), else the word itself."""
    lower = word.lower()
    if lower in words:
        return word
    limit = 1 if len(lower) < 10 else 2
    best, least = word, limit + 1
    for known in _by_initial(words).get(lower[0], ()):
        if abs(len(known) - len(lower)) > limit:
            continue
        if (distance := _edits(lower, known, least)) < least:
            best, least = known, distance
    return best


@lru_cache(maxsize=16)
def _by_initial(words: frozenset[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for word in sorted(words):
        groups.setdefault(word[0], []).append(word)
    return groups


def _edits(first: str, second: str, stop: int) -> int:
    """Return the number of insertions, deletions, substitutions and swaps between two words."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        last, before, row = before, row, [i]
        for j, b in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) >= stop:
            return stop
    return row[-1]
