"""The words of the rule labeler: per schema a file of patterns, else the schema's own synonyms."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from labeling.errors import Permanent
from labeling.vocabulary import LabelSchema, Observation

_WORD = re.compile(r"[A-Za-z]{7,}")


class InvalidLexicon(Permanent):
    """The file of rule words cannot be used."""


class _Terms(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class _LexiconFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    words: tuple[str, ...] = ()
    observations: dict[str, _Terms] = {}


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


def load_lexicon(schema: LabelSchema) -> Lexicon:
    """Return the lexicon for a schema: the packaged file of its name, and always its synonyms.

    Raises:
        InvalidLexicon: the file is not what it should be; the message names the key.
    """
    file = resources.files("labeling") / "schemas" / f"{schema.name}.rules.yaml"
    content = file.read_bytes() if file.is_file() else b"{}"
    try:
        read = _LexiconFile.model_validate(yaml.safe_load(content))
        terms = {
            each.id: _compile(each, read.observations.get(each.id)) for each in schema.observations
        }
    except (yaml.YAMLError, ValidationError, re.error) as error:
        raise InvalidLexicon(f"{schema.name}.rules.yaml: {error}") from error
    digest = hashlib.sha256(content + schema.digest.encode()).hexdigest()
    return Lexicon(terms, frozenset(read.words), digest)


def _compile(observation: Observation, terms: _Terms | None) -> Terms:
    terms = terms or _Terms()
    names = {observation.name, *observation.synonyms}
    plain = [rf"(?<!\w){_plain(name)}(?!\w)" for name in sorted(names, key=len, reverse=True)]
    return Terms(
        present=_any([*terms.present, *plain]),
        absent=_any(terms.absent),
        ignore=_any(terms.ignore),
    )


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
    for known in sorted(words):
        if known[0] != lower[0] or abs(len(known) - len(lower)) > limit:
            continue
        if (distance := _edits(lower, known, least)) < least:
            best, least = known, distance
    return best


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
