"""What every language model can do here: score answers, and generate under a grammar.

The report is read once. What follows it, the stems, share it; questions share their stem. Nothing
here knows a library: the adapters are ``transformers_model``, ``llama_cpp_model`` and ``server``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from labeling.errors import Permanent, Transient

YES_NO = ("yes", "no")


class UnusableLanguageModel(Permanent):
    """A model cannot be loaded, or cannot answer what it is asked."""


class UnansweredReport(UnusableLanguageModel):
    """The model cannot be asked about this one report; others it may read."""


class ModelUnavailable(Transient):
    """A model server is away, busy or out of memory."""


@dataclass(frozen=True)
class Reading:
    """What is read once for all questions: system words, and the report within its frame.

    ``report`` is cleaned (``labeling.token_scores.prompt.report_for_prompt``), so it cannot speak
    in another role. ``before`` and ``after`` surround it in the first turn of the user. Where
    answers come ``at_once``, no turn ends between a question and its answer: a model of
    transformers may have learned so, others do not know it.
    """

    system: str
    before: str
    report: str
    after: str
    at_once: bool = False


@dataclass(frozen=True)
class Question:
    """Words at the end of the user's turn, and the answers whose next-token scores are compared.

    Each choice is one token, or has spellings that are (case, a leading blank).
    """

    text: str
    choices: tuple[str, ...] = YES_NO


@dataclass(frozen=True)
class Stem:
    """What follows the report, and the questions that are each asked right after it.

    ``turns`` has an odd length: words of the user (they continue the turn that holds the report),
    of the assistant, of the user, ... The last are the user's; each question continues them.
    """

    turns: tuple[str, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class ScoreRequest:
    """All that is asked about one report."""

    reading: Reading
    stems: tuple[Stem, ...]


@dataclass(frozen=True)
class Grammar:
    """What a generated text must be: a JSON object by JSON Schema, keys in the schema's order."""

    json_schema: Mapping[str, Any]


@dataclass(frozen=True)
class Ask:
    """A text to be generated greedily after ``turns`` (as in ``Stem``; odd length)."""

    turns: tuple[str, ...]
    maximum_tokens: int
    grammar: Grammar | None = None
    alternatives: int = 0  # how many alternatives each step reports
    repetition_penalty: float = 1.0  # on tokens of the text so far, where the model offers it


@dataclass(frozen=True)
class GenerateRequest:
    """All texts that are generated about one report."""

    reading: Reading
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Step:
    """A generated token's text, and natural log-probabilities of what could stand there.

    The probabilities are the model's own, before a grammar takes choices away. A token that the
    grammar leaves no choice about may have none.
    """

    text: str
    alternatives: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Generated:
    """A generated text, its steps in order, and whether it ended by itself."""

    text: str
    steps: tuple[Step, ...]
    complete: bool


Scores = tuple[float, ...]
"""Log-probability of each choice in order; only differences between choices mean something."""


class BoundedScores(tuple[float, ...]):
    """Scores of which some are the most that a choice can have had.

    A server lists the likeliest tokens only. ``unlisted`` are the indices of the choices that were
    not among them; at least one was.
    """

    unlisted: frozenset[int]

    def __new__(cls, scores: Sequence[float], unlisted: Iterable[int]) -> BoundedScores:
        """Return the scores with the indices of those that are bounds."""
        made = super().__new__(cls, scores)
        made.unlisted = frozenset(unlisted)
        return made


BOUND_NOTE = "the margin is a bound: an answer was not among the model's alternatives"
"""What a label says whose margin rests on ``BoundedScores``."""


def is_bound(scores: Scores) -> bool:
    """Tell whether the difference between the first two choices is a bound, not a value."""
    return isinstance(scores, BoundedScores) and not scores.unlisted.isdisjoint({0, 1})


class LanguageModel(Protocol):
    """A loaded model. Not for use by several threads at once.

    ``digest`` is the SHA-256 of the weights (or what a server says of them), ``markers`` the texts
    by which its chat format tells roles apart.
    """

    name: str
    digest: str
    markers: frozenset[str]

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        ...

    def fits(self, reading: Reading) -> bool:
        """Tell whether the model can read this and still be asked."""
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[list[Scores]]]:
        """Return the scores by request, stem and question.

        Raises:
            UnusableLanguageModel: a choice is no single token, or scores cannot be had.
            ModelUnavailable: trying again later may succeed.
        """
        ...

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Generated]]:
        """Return the texts by request and ask, each generated greedily.

        Raises:
            UnusableLanguageModel: the grammar cannot be used.
            ModelUnavailable: trying again later may succeed.
        """
        ...


def margin(scores: Scores) -> float:
    """Return how much the first choice is ahead of the second, in logits."""
    return scores[0] - scores[1]
