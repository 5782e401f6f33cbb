"""What of a report a language model reads, made harmless, and the words that it is asked.

The report comes first, so all questions share it; then, for each observation, its definition and
questions whose answer is one token (Park et al., MICCAI 2024, one-step form). The words are data
of the language pack.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from labeling.guarding.visible import visible
from labeling.labeler import Span
from labeling.language import InvalidLanguagePack, LanguagePack
from labeling.llm.conversation import MARKERS, harmless
from labeling.llm.interface import Question, Reading
from labeling.sections import ReadableReport
from labeling.vocabulary import WHOLE, LabelSchema, Observation

FENCE = "<report>", "</report>"
"""What stands around a report in a prompt; a report cannot contain it."""

AT_ONCE = "at once"
"""Value of the text "answers" where no turn ends between a question and its answer."""

_KEYS = {
    "system": {"title", "open", "close"},
    "stem": {"name", "definition"},
    "present": {"name"},
    "present_at": {"name", "site"},
    "mentioned": {"name"},
    "mentioned_at": {"name", "site"},
    "summary": {"name"},
    "yes": set(),
    "no": set(),
    "nothing": set(),
}


@dataclass(frozen=True)
class PackWords:
    """The words of one language pack for one schema, as a labeler that asks needs them.

    A kind of words names its labeler and the texts that it needs, each with its placeholders.
    ``kind`` is the name of other words of the pack in their place: those that a model learned.

    Raises:
        InvalidLanguagePack: the pack lacks a text, or a text has an unknown placeholder.
    """

    LABELER: ClassVar[str]
    KEYS: ClassVar[Mapping[str, Set[str]]]

    schema: LabelSchema
    pack: LanguagePack
    kind: str = ""

    def __post_init__(self) -> None:
        if self._answers not in {"", AT_ONCE}:
            raise InvalidLanguagePack(
                f"answers: {self._answers!r} is not {AT_ONCE!r}, which is all it can be"
            )
        for key, names in self.KEYS.items():
            self._text(key, **dict.fromkeys(names, ""))

    def reading(self, report: str) -> Reading:
        """Return what is read once for all questions; an empty report is said to be empty."""
        system = self._text("system", title=self.schema.title, open=FENCE[0], close=FENCE[1])
        at_once = self._answers == AT_ONCE
        return fenced(system, report or self._text("nothing"), at_once=at_once)

    def stem(self, observation: str) -> str:
        """Return what is said of an observation before its questions."""
        asked = self.schema.observation(observation)
        return self._text("stem", name=spoken(asked), definition=asked.definition)

    def digest(self, observation: str) -> str:
        """Return the SHA-256 of all that can be asked about an observation."""
        reading, asked = self.reading(""), self.schema.observation(observation)
        questions = [
            (each.text, each.choices)
            for site in (WHOLE, *asked.sites)
            for each in self._asked(observation, site)
        ]
        frame = (reading.system, reading.before, reading.report, reading.after)
        told = json.dumps([frame, self.stem(observation), questions, *[AT_ONCE] * reading.at_once])
        return hashlib.sha256(told.encode()).hexdigest()

    def _asked(self, observation: str, site: str) -> Iterator[Question]:
        """Yield every question that can be asked about an observation at a site."""
        raise NotImplementedError

    def _yes_no(self, text: str) -> Question:
        return Question(f" {text}", (self._text("yes"), self._text("no")))

    @property
    def _answers(self) -> str:
        return _prompts(self.pack, self.kind or self.LABELER).get("answers", "")

    def _text(self, key: str, **words: str) -> str:
        return filled(self.pack, self.kind or self.LABELER, key, **words)


@dataclass(frozen=True)
class Prompts(PackWords):
    """The words of token scores: one-step and two-step."""

    LABELER = "token_scores"
    KEYS = _KEYS

    def summary(self, observation: str) -> str:
        """Return the words that ask for a summary aimed at an observation."""
        return self._text("summary", name=spoken(self.schema.observation(observation)))

    def present(self, observation: str, site: str) -> Question:
        """Return the question whether the report states it."""
        return self._question("present", observation, site)

    def mentioned(self, observation: str, site: str) -> Question:
        """Return the question whether the report speaks of it at all, affirmed or denied."""
        return self._question("mentioned", observation, site)

    def _asked(self, observation: str, site: str) -> Iterator[Question]:
        yield self.present(observation, site)
        yield self.mentioned(observation, site)

    def _question(self, key: str, observation: str, site: str) -> Question:
        words = {"name": spoken(self.schema.observation(observation))}
        if site != WHOLE:
            key, words = f"{key}_at", words | {"site": self.schema.site(site).name}
        return self._yes_no(self._text(key, **words))


def filled(pack: LanguagePack, labeler: str, key: str, **words: str) -> str:
    """Return a text of a language pack with its placeholders filled.

    Raises:
        InvalidLanguagePack: there is no such text, or it has other placeholders than ``words``.
    """
    where = f"language pack {pack.code}, {labeler}.yaml, {key}"
    text = _prompts(pack, labeler).get(key)
    if text is None:
        raise InvalidLanguagePack(f"{where}: is missing")
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        if unknown := sorted(names - words.keys()):
            raise InvalidLanguagePack(f"{where}: unknown placeholder {{{unknown[0]}}}")
        return text.format(**words)
    except (ValueError, LookupError) as error:
        raise InvalidLanguagePack(f"{where}: the placeholders cannot be filled") from error


def _prompts(pack: LanguagePack, labeler: str) -> Mapping[str, str]:
    return pack.prompts.get(labeler, {})


def fenced(system: str, report: str, *, at_once: bool = False) -> Reading:
    """Return a reading with the report, cleaned by ``report_for_prompt``, within its fence."""
    return Reading(system, f"{FENCE[0]}\n", report, f"\n{FENCE[1]}\n", at_once)


def spoken(observation: Observation) -> str:
    """Return the name as it stands within a sentence: lower case, but for "CT" or "MRI"."""
    name = observation.name
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]


def report_for_prompt(
    report: ReadableReport,
    markers: Iterable[str],
    *,
    without: Collection[Span] = (),
    only: Collection[Span] | None = None,
) -> str:
    """Return the sections of a report that may label, made harmless for a prompt.

    Offsets of evidence refer to the stored text, not to this.

    Args:
        report: as ``sections.read_report`` gives it.
        markers: the texts by which the model's chat format tells roles apart.
        without: ranges that are left out.
        only: read nothing but these ranges.
    """
    if only is not None:
        return cleaned("\n".join(report.text[start:end] for start, end in sorted(only)), markers)
    without = [*without, *report.left_out]
    parts = [_cut(report.text, section.start, section.end, without) for section in report.sections]
    return cleaned("\n".join(parts), markers)


def _cut(text: str, start: int, end: int, without: Collection[Span]) -> str:
    kept: list[str] = []
    for first, last in sorted(without):
        # What is left out may begin with the blanks before a section.
        first, last = max(first, start), min(last, end)
        if first < last:
            kept.append(text[start:first])
            start = last
    return " ".join([*kept, text[start:end]])


def cleaned(text: str, markers: Iterable[str]) -> str:
    """Return a text that cannot end the report or speak in another role.

    What is invisible or disguised becomes what a person sees (``guarding.visible``). The fence,
    the markers by which the model's chat format tells roles apart, and those of every chat format
    that is known are replaced by blanks, in whatever case they are written.
    """
    text = visible(text)
    # Some tokenizers keep runs of blanks as tokens of their own; those are harmless.
    hidden = _any_of(frozenset({m for m in (*markers, *FENCE, *MARKERS) if m.strip()}))
    while (cut := hidden.sub(" ", harmless(text))) != text:
        text = cut
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


@lru_cache(maxsize=16)
def _any_of(markers: frozenset[str]) -> re.Pattern[str]:
    """Match any of these texts, the longest first, in any case."""
    longest_first = sorted(markers, key=lambda each: (-len(each), each))
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
