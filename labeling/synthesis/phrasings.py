"""Phrasings parted into those to learn from and those to be judged by, none of them in both.

Two phrasings are one where they read the same without regard to case, blanks, punctuation and the
placeholders that may stay empty.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from labeling.errors import Permanent
from labeling.located_yaml import Entry
from labeling.synthesis.generated import Split

T = TypeVar("T")

ARTICLE = "(a) "
"""Opens a noun phrase that takes "a" or "an" in a full sentence and none in telegraphic style."""

_EMPTIED = re.compile(r"\{(?:severity|side|at|mm)\}|^\(a\) ")


class InvalidWording(Permanent):
    """A wording file cannot be used; the message says in which line and at which key."""


@dataclass(frozen=True)
class Parted(Generic[T]):
    """Items of the two splits."""

    train: tuple[T, ...] = ()
    test: tuple[T, ...] = ()

    def of(self, split: Split) -> tuple[T, ...]:
        """Return the items of a split."""
        return self.train if split == "train" else self.test

    def __bool__(self) -> bool:
        return bool(self.train or self.test)


Phrasings = Parted[str]


@dataclass(frozen=True)
class Sentence:
    """A whole sentence and the ids of the observations that it states, denies or leaves open.

    ``body_parts``: it speaks of these only; empty: of any that the schema covers.
    """

    text: str
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()


def folded(text: str) -> str:
    """Return what of a phrasing counts when two are compared."""
    words = re.findall(r"\w+", _EMPTIED.sub(" ", text).casefold())
    return " ".join(words) or text.strip().casefold()


@dataclass
class PartedReader:
    """Reads the ``{train: [...], test: [...]}`` of files that are used together.

    Args:
        known: by scope and split, the folded phrasings read so far. All sentences share one scope;
            noun phrases, which never stand alone, share one with those in their place.
    """

    known: dict[tuple[str, Split], set[str]] = field(default_factory=dict)

    def phrasings(
        self,
        entry: Entry,
        allowed: Set[str],
        required: Set[str] = frozenset(),
        *,
        scope: str = "",
    ) -> Phrasings:
        """Read lists of texts that have no placeholder but ``allowed`` and all of ``required``."""
        return self._parted(
            entry, lambda item, split: self._text(item, split, allowed, required, scope)
        )

    def sentences(
        self,
        entry: Entry,
        allowed: Set[str],
        observations: tuple[str, ...],
        *,
        scope: str = "",
    ) -> Parted[Sentence]:
        """Read lists of sentences with what they claim; a bare text claims nothing."""

        def read(item: Entry, split: Split) -> Sentence:
            return self._sentence(
                item, lambda entry: self._text(entry, split, allowed, scope=scope), observations
            )

        return self._parted(entry, read)

    def _parted(self, entry: Entry, read: Callable[[Entry, Split], T]) -> Parted[T]:
        lists = entry.fields({"train", "test"})
        return Parted(
            tuple(read(item, "train") for item in lists["train"].items()),
            tuple(read(item, "test") for item in lists["test"].items()),
        )

    def _sentence(
        self, item: Entry, text_of: Callable[[Entry], str], observations: tuple[str, ...]
    ) -> Sentence:
        if item.is_text():
            return Sentence(text_of(item))
        fields = item.fields({"text"}, {"present", "absent", "uncertain", "body_parts"})
        said = {
            key: fields[key].references(observations, "observation")
            for key in ("present", "absent", "uncertain")
            if key in fields
        }
        parts = fields["body_parts"].texts() if "body_parts" in fields else ()
        text = text_of(fields["text"])
        if len(named := [each for ids in said.values() for each in ids]) != len(set(named)):
            raise item.refuse("an observation stands twice")
        return Sentence(text, body_parts=parts, **said)

    def _text(
        self,
        item: Entry,
        split: Split,
        allowed: Set[str],
        required: Set[str] = frozenset(),
        scope: str = "",
    ) -> str:
        text = item.text()
        try:
            found = set(_placeholders(text))
        except ValueError as error:
            raise item.refuse("the braces do not match") from error
        if unknown := sorted(found - allowed):
            raise item.refuse(f"unknown placeholder {{{unknown[0]}}}")
        if missing := sorted(required - found):
            raise item.refuse(f"the placeholder {{{missing[0]}}} is missing")
        other: Split = "test" if split == "train" else "train"
        if (key := folded(text)) in self.known.get((scope, other), ()):
            raise item.refuse(f"a phrase of {split} that stands in {other}, too: {text!r}")
        self.known.setdefault((scope, split), set()).add(key)
        return text


def _placeholders(text: str) -> Iterator[str]:
    for _, name, _, _ in string.Formatter().parse(text):
        if name is not None:
            yield name
