"""Labels reports with a small trained network on a local encoder; attention gives the evidence.

Importing this file loads neither torch nor transformers; both come with the first report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from labeling.labeler import LabelerSetup, LabelResult, Span, failed
from labeling.processor import best_format
from labeling.sections import ReadableReport, UnreadableReport, read_report
from labeling.student.encoder import stored_encoder
from labeling.student.weights_file import (
    InvalidStudent,
    StudentFiles,
    read_student,
    shipped_student,
)
from labeling.vocabulary import WHOLE, Observation, State

if TYPE_CHECKING:
    from labeling.student.inference import Answers, Reader

NOT_TRAINED = "the student was not trained on this observation"
NO_LEVELS = "the student was not trained on sites"
NO_TOKENS = "the report holds no words that the encoder knows"

_REPORTS_AT_ONCE = 128  # the more, the more sentences are equal and the fuller each batch
_MOST_SPANS = 3
_SHARE_OF_BEST = 0.5  # a further sentence counts from this share of the strongest one's attention


class StudentLabeler:
    """Labels by a student: the one that the settings name in the store, or the schema's own.

    The margin is the network's log-odds of present against the rest, the mention margin those of
    mentioned against not mentioned. Evidence are the sentences on which attention rests.
    """

    name = "student"

    def __init__(self, setup: LabelerSetup) -> None:
        self._setup = setup
        self._files = _student(setup)
        config = self._files.config
        self._encoder = stored_encoder(setup.model_store, config.encoder, config.encoder_sha256)
        self._reader: Reader | None = None
        self._dtype = best_format(setup.settings.student.dtype)
        self.model_name = setup.settings.student.name or f"student-{config.schema}"
        self.model_digest = hashlib.sha256(
            f"{self._files.digest} {self._encoder.sha256} {self._dtype}".encode()
        ).hexdigest()
        read = f"{setup.languages.digest} {setup.settings.label_history}"
        self.prompt_digest = hashlib.sha256(read.encode()).hexdigest()

    def load(self) -> Reader:
        """Load encoder and network where that has not happened yet; takes a second or two."""
        if self._reader is None:
            from labeling.student.inference import Reader

            threads = self._setup.settings.language_model.threads
            self._reader = Reader.load(
                self._files,
                self._encoder.path,
                self._setup.schema,
                threads=threads,
                dtype=self._dtype,
            )
        return self._reader

    def label_reports(self, texts: Sequence[str]) -> Iterator[list[LabelResult]]:
        """Yield the results of each text, in order; texts are read some dozens at a time."""
        waiting = iter(texts)
        while some := list(islice(waiting, _REPORTS_AT_ONCE)):
            yield from self._label(some)

    def _label(self, texts: Sequence[str]) -> Iterator[list[LabelResult]]:
        read = [self._readable(text) for text in texts]
        reports = [each for each in read if isinstance(each, ReadableReport)]
        answers = iter(self.load().answer(reports) if reports else [])
        for each in read:
            if isinstance(each, ReadableReport):
                yield self._results(next(answers))
            else:
                yield failed(self._setup.schema, each)

    def _readable(self, text: str) -> ReadableReport | str:
        try:
            report = read_report(text, self._setup.languages, self._setup.settings)
        except UnreadableReport as error:
            return str(error)
        if report.pack.code not in self._files.config.languages:
            return f"language: the student did not learn from reports in {report.pack.name}"
        return report

    def _results(self, answers: Answers) -> list[LabelResult]:
        if not answers.tokens:
            return failed(self._setup.schema, NO_TOKENS)
        return [
            self._result(observation, site, answers)
            for observation in self._setup.schema.observations
            for site in (WHOLE, *observation.sites)
        ]

    def _result(self, observation: Observation, site: str, answers: Answers) -> LabelResult:
        config = self._files.config
        if observation.id not in config.observations:
            return LabelResult(observation.id, site, State.FAILED, detail=NOT_TRAINED)
        if site != WHOLE and not config.sites:
            return LabelResult(observation.id, site, State.FAILED, detail=NO_LEVELS)
        answer = answers.of(config.observations.index(observation.id), site)
        threshold = self._setup.thresholds.of(observation.id, site)
        counts = answer.state is not State.NOT_MENTIONED or answer.margin >= threshold.low
        evidence = strongest(answers.spans, answer.attention) if counts else ()
        return LabelResult(
            observation.id,
            site,
            answer.state,
            margin=answer.margin,
            mention_margin=answer.mention_margin,
            evidence=evidence,
        )


@dataclass(frozen=True)
class Answer:
    """What the network says of one observation at one place; attention is by sentence."""

    state: State
    margin: float
    mention_margin: float
    attention: npt.NDArray[np.float64]


def strongest(spans: Sequence[Span], attention: npt.NDArray[np.float64]) -> tuple[Span, ...]:
    """Return the sentences with most attention, the strongest first; at most three."""
    order = np.argsort(-attention, kind="stable")[:_MOST_SPANS]
    least = _SHARE_OF_BEST * attention[order[0]]
    return tuple(spans[i] for i in order if attention[i] >= least and attention[i] > 0.0)


def _student(setup: LabelerSetup) -> StudentFiles:
    if not setup.settings.student.name:
        return shipped_student(setup.schema.name)
    stored = setup.model_store.get(setup.settings.student.name)
    if not stored.path.is_dir():
        raise InvalidStudent(f"{stored.name}: not a student")
    return read_student(stored.path)
