"""The words by which reports of one language are divided, as data: ``headings.LANGUAGE.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

import yaml

from dicom_node.reports.kinds import Kind

_FLAGS = re.IGNORECASE
_NOTHING = re.compile(r"(?!)")
_COLON = "[:\uff1a]"


@dataclass(frozen=True)
class Headings:
    """How reports of a language are divided.

    Every text is a regular expression without groups of its own; a blank in it stands for any
    blanks of a line.

    Args:
        headings: what opens a section, on a line of its own or before a colon.
        in_line: what opens one in the middle of a line, with a capital letter and a colon.
        leading: whole sentences that stand before the findings of a report without headings.
        claims: words by which a sentence says something of the patient and so is no leading one.
        without_prior: a denial that is no claim: "no prior studies".
        summary: what opens the closing summary of a report without headings.
    """

    headings: Mapping[Kind, Sequence[str]]
    in_line: Mapping[Kind, Sequence[str]] = field(default_factory=dict)
    leading: Mapping[Kind, Sequence[str]] = field(default_factory=dict)
    claims: Sequence[str] = ()
    without_prior: Sequence[str] = ()
    summary: Sequence[str] = ()

    @cached_property
    def opening(self) -> re.Pattern[str]:
        """A heading that opens a line and is followed by a colon or stands alone."""
        if not self.headings:
            return _NOTHING
        return re.compile(
            rf"^[ \t]*(?:[*#_\-=>]+[ \t]*)?(?:{_named(self.headings)})[ \t]*(?:[*_=]+)?[ \t]*"
            rf"(?:{_COLON}|(?=\r?$|\r?\n)|[ \t]-[ \t])",
            _FLAGS | re.MULTILINE,
        )

    @cached_property
    def after_sentence(self) -> re.Pattern[str]:
        """A heading behind the end of a sentence, where a feed delivers one long line."""
        if not self.headings:
            return _NOTHING
        return re.compile(rf"(?<=[.;!?])[ \t]+(?:{_named(self.headings)})[ \t]*{_COLON}", _FLAGS)

    @cached_property
    def within(self) -> re.Pattern[str]:
        """A heading in the middle of such a line; a capital letter tells it from other words."""
        if not self.in_line:
            return _NOTHING
        return re.compile(rf"(?<=[^\s.;!?:])[ \t]+(?:{_named(self.in_line)})[ \t]*{_COLON}", _FLAGS)

    @cached_property
    def whole_sentences(self) -> Mapping[Kind, re.Pattern[str]]:
        """By kind, what a leading sentence of that kind is like."""
        return {
            kind: re.compile(any_of(patterns), _FLAGS) for kind, patterns in self.leading.items()
        }

    @cached_property
    def claiming(self) -> re.Pattern[str]:
        """A word that says something of the patient."""
        return re.compile(rf"\b(?:{any_of(self.claims)})\b", _FLAGS) if self.claims else _NOTHING

    @cached_property
    def no_priors(self) -> re.Pattern[str]:
        """That there is nothing to compare with."""
        return re.compile(any_of(self.without_prior), _FLAGS) if self.without_prior else _NOTHING

    @cached_property
    def summaries(self) -> re.Pattern[str]:
        """The place before the first word of a closing summary."""
        if not self.summary:
            return _NOTHING
        return re.compile(
            rf"(?:(?<=[.!?])|^)[ \t]*(?=(?:{any_of(self.summary)})\b)", _FLAGS | re.MULTILINE
        )


@lru_cache(maxsize=1)
def english_headings() -> Headings:
    """Return the headings of English reports, which come with the package."""
    file = resources.files("dicom_node") / "reports" / "headings.en.yaml"
    return headings_of(yaml.safe_load(file.read_bytes()))


def headings_of(content: Mapping[str, Any]) -> Headings:
    """Return headings from what such a file holds; sections by their names in ``Kind``."""

    def kinds(key: str) -> dict[Kind, tuple[str, ...]]:
        return {Kind(kind): tuple(texts) for kind, texts in content.get(key, {}).items()}

    def words(key: str) -> tuple[str, ...]:
        return tuple(content.get(key, ()))

    return Headings(
        headings=kinds("headings"),
        in_line=kinds("in_line"),
        leading=kinds("leading"),
        claims=words("claims"),
        without_prior=words("without_prior"),
        summary=words("summary"),
    )


def any_of(patterns: Sequence[str]) -> str:
    """Join alternatives; a blank becomes any blanks of a line."""
    return "|".join(f"(?:{pattern})" for pattern in patterns).replace(" ", r"[ \t]+")


def _named(patterns: Mapping[Kind, Sequence[str]]) -> str:
    return "|".join(f"(?P<{kind.name}>{any_of(texts)})" for kind, texts in patterns.items())
