"""A language model that is a table of answers, for tests of the labelers that ask one.

Rows are tried in order, the first that fits answers. What no row fits is answered by the last
choice ("no"), or by an empty text. All requests are kept, so a test can see what was asked.

    model = FakeLanguageModel(
        answers=[Answer("herniation", "extrusion", (0.0, -4.0))],
        texts=[Text("herniation", "extrusion", "An extrusion.")],
    )
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from labeling.llm.interface import (
    Ask,
    Generated,
    GenerateRequest,
    Question,
    Reading,
    ScoreRequest,
    Scores,
    Stem,
    Step,
)

_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])")


@dataclass(frozen=True)
class Answer:
    """Scores for a question; words are looked for without regard to case, "" fits all.

    Args:
        asked: must stand in the stem's turns or in the question.
        report: must stand in the report.
        scores: log-probability of each choice in order, or a function of report, asked words and
            choices (then it may weigh several sentences).
        question: must stand in the question itself.
    """

    asked: str
    report: str
    scores: Scores | Callable[[str, str, tuple[str, ...]], Scores]
    question: str = ""


@dataclass(frozen=True)
class Text:
    """A generated text, or a function of report and turns; ``alternatives`` by token text."""

    asked: str
    report: str
    text: str | Callable[[str, tuple[str, ...]], str]
    alternatives: Mapping[str, Mapping[str, float]] | None = None


class FakeLanguageModel:
    """Answers from tables; a token is a word or a sign, with the blanks before it.

    ``fault`` is called before each call of ``score`` and ``generate`` and may raise.
    """

    name = "fake"
    digest = "f" * 64

    def __init__(
        self,
        answers: Sequence[Answer] = (),
        texts: Sequence[Text] = (),
        *,
        longest: int = 4096,
        markers: frozenset[str] = frozenset({"<|im_start|>", "<|im_end|>"}),
        fault: Callable[[], None] = lambda: None,
    ) -> None:
        self.markers = markers
        self.scored: list[Sequence[ScoreRequest]] = []  # one entry a call
        self.generated: list[Sequence[GenerateRequest]] = []
        self._answers, self._texts = tuple(answers), tuple(texts)
        self._longest, self._fault = longest, fault

    @property
    def questions(self) -> int:
        """How many questions were asked so far."""
        return sum(len(s.questions) for call in self.scored for r in call for s in r.stems)

    def count_tokens(self, text: str) -> int:
        return len(_TOKEN.findall(text))

    def fits(self, reading: Reading) -> bool:
        return self.count_tokens(reading.report) <= self._longest

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[list[Scores]]]:
        self._fault()
        self.scored.append(requests)
        return [
            [[self._score(r.reading, stem, q) for q in stem.questions] for stem in r.stems]
            for r in requests
        ]

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Generated]]:
        self._fault()
        self.generated.append(requests)
        return [[self._generate(r.reading, ask) for ask in r.asks] for r in requests]

    def _score(self, reading: Reading, stem: Stem, question: Question) -> Scores:
        asked = " ".join((*stem.turns, question.text))
        for row in self._answers:
            if (
                _holds(asked, row.asked)
                and _holds(reading.report, row.report)
                and _holds(question.text, row.question)
            ):
                scores = row.scores
                return (
                    scores(reading.report, asked, question.choices) if callable(scores) else scores
                )
        return (*(-4.0 for _ in question.choices[1:]), 0.0)

    def _generate(self, reading: Reading, ask: Ask) -> Generated:
        for row in self._texts:
            if _holds(" ".join(ask.turns), row.asked) and _holds(reading.report, row.report):
                given = row.text(reading.report, ask.turns) if callable(row.text) else row.text
                return _steps(given, ask, row.alternatives or {})
        return Generated("", (), complete=True)


def _steps(text: str, ask: Ask, alternatives: Mapping[str, Mapping[str, float]]) -> Generated:
    tokens = _TOKEN.findall(text)
    kept = tokens[: ask.maximum_tokens]
    steps = tuple(
        Step(token, alternatives.get(token.strip(), {token: -0.01}) if ask.alternatives else {})
        for token in kept
    )
    return Generated("".join(kept), steps, complete=len(kept) == len(tokens))


def _holds(text: str, words: str) -> bool:
    return words.lower() in text.lower()
