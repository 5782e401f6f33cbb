"""The training: reports as they are generated, a step of some at a time, until the time is up."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from labeling.adaptation.checkpoint import Position, load_checkpoint, save_checkpoint
from labeling.adaptation.excerpts import Texts
from labeling.adaptation.judging import judge
from labeling.adaptation.lessons import Course, Lesson, Truth
from labeling.adaptation.low_rank import parameters
from labeling.adaptation.rows import Row, Rows, drawn, read, side_by_side
from labeling.llm.network import Network
from labeling.synthesis.generated import GeneratedReport

Progress = Callable[[str], None]
Reports = Callable[[int], Iterator[GeneratedReport]]
"""Yields generated reports from a number on, without end."""

_CHECKPOINT_SECONDS = 15.0  # what a stop may cost; writing one takes a tenth of a second
_PASSED_BY = 60  # long reports in a row; then one is read: not every schema has short ones


@dataclass(frozen=True)
class Options:
    """How a model learns.

    Args:
        seed: of all chance.
        minutes: of learning; the rate falls to zero by then. 0: the model is judged only.
        steps: at most; 0: as many as the time allows.
        rank, scale: of the matrices' products.
        rate: of learning, at its highest.
        warm_up: share of the training in which the rate rises.
        reports: in one step.
        questions: drawn of each report.
        tokens: read at once on one core, fillers included; bounds the memory.
        uncertain: how much "yes" an uncertain finding is to whether it is present.
        short: share of the training in which only short reports are read: what a question is and
            where its answer stands is learned from them in a fraction of the time.
        shorts: share of the reports read later that are short ones: they teach as many phrasings
            in less time, and notes of a line or two are what some houses write.
        short_length: of such a report at most, in characters.
        excerpts: share of the reports of which a part is read.
        interfered: share that holds words which speak to the reader.
        judgements: how often the model is judged on the way.
        judged_reports: so many reports are judged each time, by as many questions as three times
            those drawn to learn from.
        final_reports: so many are judged at the end, by all questions.
    """

    seed: int = 1
    minutes: float = 20.0
    steps: int = 0
    rank: int = 8
    scale: float = 2.0
    rate: float = 7e-4
    warm_up: float = 0.05
    reports: int = 6
    questions: int = 32
    tokens: int = 512
    uncertain: float = 0.5
    short: float = 0.2
    shorts: float = 0.5
    short_length: int = 300
    excerpts: float = 0.12
    interfered: float = 0.15
    judgements: int = 4
    judged_reports: int = 24
    final_reports: int = 160


class Training:
    """One training of one network; ``run`` goes on from the checkpoint, where there is one.

    Args:
        network: its model was adapted (``low_rank.adapt``).
        rows: of its chat format.
        courses: with how often each is drawn; the first is the one that is judged.
        texts: reads reports.
        reports: to learn from.
        judged: to be judged by.
        options: of the training.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        network: Network,
        rows: Rows,
        courses: Sequence[tuple[Course, float]],
        texts: Texts,
        reports: Reports,
        judged: Sequence[Truth],
        options: Options,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network, self._rows, self._courses = network, rows, courses
        self._texts, self._reports, self.judged = texts, reports, judged
        self.options, self._clock = options, clock
        self._matrices = parameters(network.model)
        self._optimizer = torch.optim.AdamW(
            list(self._matrices.values()), lr=options.rate, weight_decay=0.0
        )
        self.position = Position()
        # Groups of rows side by side, each on one core: faster than one after the other on all.
        cores = torch.get_num_threads() if network.device.type == "cpu" else 1
        self._side = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))

    def run(self, checkpoint: Path, job: str, progress: Progress) -> Position:
        """Learn until the time or the steps are used up; return where the training ended.

        Args:
            checkpoint: file; continued from where it exists, and written every few steps.
            job: digest of what is learned; a checkpoint of another is refused.
            progress: takes a line after each step.
        """
        self.position = load_checkpoint(checkpoint, job, self._matrices, self._optimizer)
        stream = self._reports(self.position.report)
        saved = self._clock()
        while (done := self.done) < 1.0:
            began = self._clock()
            self._step(self._taken(stream, done), done)
            self.position.seconds += self._clock() - began
            progress(self._line())
            if self.done * self.options.judgements >= len(self.position.judged) + 1:
                self._judge(progress)
            if self._clock() - saved > _CHECKPOINT_SECONDS or self.done >= 1.0:
                save_checkpoint(checkpoint, job, self.position, self._matrices, self._optimizer)
                saved = self._clock()
        return self.position

    @property
    def done(self) -> float:
        """How much of the training is done, from 0 to 1."""
        position, options = self.position, self.options
        by_steps = position.step / options.steps if options.steps else 0.0
        by_time = position.seconds / (60.0 * options.minutes) if options.minutes else 1.0
        return min(max(by_time, by_steps), 1.0)

    def _taken(self, stream: Iterator[GeneratedReport], done: float) -> list[Row]:
        """Return the rows of the next step."""
        rows: list[Row] = []
        lengths, passed = self._lengths(done), 0
        while len(rows) < self.options.reports:
            report, longest = next(stream), lengths[len(rows)]
            longest = math.inf if passed == _PASSED_BY else longest
            # Of its own number, so that a training that was stopped draws what it would have.
            chance = random.Random(f"{self.options.seed}/{self.position.report}")
            self.position.report += 1
            if len(report.text) > longest:
                passed += 1
                continue
            passed = 0
            if (row := self._row(report, chance)) is not None:
                rows.append(row)
                self._note(report)
        return rows

    def _lengths(self, done: float) -> list[float]:
        """Return how long each report of the next step may be, in characters."""
        options = self.options
        chance = random.Random(f"{options.seed}/lengths/{self.position.step}")
        share = 1.0 if done < options.short else options.shorts
        return [
            options.short_length if chance.random() < share else math.inf
            for _ in range(options.reports)
        ]

    def _row(self, report: GeneratedReport, chance: random.Random) -> Row | None:
        read_as = self._texts.readable(report)
        if read_as is None:
            return None
        drawn_part = chance.random()
        if drawn_part < self.options.excerpts:
            truth = self._texts.excerpt(report, read_as, chance)
        elif self._texts.interference and drawn_part < (
            self.options.excerpts + self.options.interfered
        ):
            truth = self._texts.interfered(report, read_as, chance)
        else:
            truth = self._texts.whole(report, read_as)
        courses, shares = zip(*self._courses, strict=True)
        (course,) = chance.choices(courses, shares)
        lessons = list(course.lessons(truth, self.options.uncertain))
        return self._rows.row(course, truth, drawn(lessons, self.options.questions, chance))

    def _note(self, report: GeneratedReport) -> None:
        states = {" ".join(place): str(state) for place, state in report.states.items()}
        told = json.dumps([self.position.digest, report.text, states], sort_keys=True)
        self.position.digest = hashlib.sha256(told.encode()).hexdigest()

    def _step(self, rows: Sequence[Row], done: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self.options.rate * _rate(done, self.options.warm_up)
        self._optimizer.zero_grad(set_to_none=True)
        asked, total = sum(len(row.lessons) for row in rows), 0.0
        groups = side_by_side(rows, self.options.tokens)
        # In the order of the groups, whoever ends first: sums of floats depend on it.
        for loss, gradients in self._side.map(lambda group: self._learned(group, asked), groups):
            total += loss
            for matrix, gradient in zip(self._matrices.values(), gradients, strict=True):
                matrix.grad = gradient if matrix.grad is None else matrix.grad.add_(gradient)
        torch.nn.utils.clip_grad_norm_(self._matrices.values(), 1.0)
        self._optimizer.step()
        self.position.step += 1
        self.position.losses.append(round(total, 5))

    def _learned(self, rows: Sequence[Row], asked: int) -> tuple[float, tuple[torch.Tensor, ...]]:
        """Return the loss of some rows, as their part of all that is asked, and its gradients."""
        answers = read(self._network, rows)
        lessons = [lesson for row in rows for lesson in row.lessons]
        losses = [
            -(found * found.new_tensor(lesson.target)).sum()
            for found, lesson in zip(answers, lessons, strict=True)
        ]
        loss = torch.stack(losses).sum() / asked
        return float(loss.detach()), torch.autograd.grad(loss, list(self._matrices.values()))

    def _judge(self, progress: Progress) -> None:
        truths = self.judged[: self.options.judged_reports]
        figures = self.figures(truths, 3 * self.options.questions)
        self.position.judged.append({"step": self.position.step, **figures["mean"]})
        said = ", ".join(f"{name} {value:.3f}" for name, value in figures["mean"].items())
        progress(f"step {self.position.step}, on test phrasings: {said}")

    def figures(self, truths: Sequence[Truth], questions: int = 0) -> dict[str, Any]:
        """Return what ``judge`` says of the model as it is now; by so many questions, 0: all."""
        course, chance = self._courses[0][0], random.Random(self.options.seed)
        asked = []
        for truth in truths:
            lessons = list(course.lessons(truth, self.options.uncertain))
            chosen = drawn(lessons, questions or len(lessons), chance)
            # As many in a row as are learned: memory grows with the square of a row's length.
            asked += [(truth, part) for part in _parted(chosen, self.options.questions)]
        rows = [(t, self._rows.row(course, t, lessons)) for t, lessons in asked]
        known = [(truth, row) for truth, row in rows if row is not None]
        return judge(self._network, known, self.options.tokens)

    def _line(self) -> str:
        position = self.position
        recent = position.losses[-10:]
        speed = position.step * self.options.reports / max(position.seconds, 1e-9)
        left = position.seconds * (1.0 / max(self.done, 1e-9) - 1.0) / 60.0
        return (
            f"step {position.step}, loss {sum(recent) / len(recent):.3f}, "
            f"{speed:.2f} reports/s, {left:.0f} min left"
        )


def _parted(lessons: Sequence[Lesson], most: int) -> list[Sequence[Lesson]]:
    return [lessons[start : start + most] for start in range(0, len(lessons), most)]


def _rate(done: float, warm_up: float) -> float:
    """Return the share of the highest rate: it rises in a line, then falls as a cosine."""
    if done < warm_up:
        return (done + 0.1 * warm_up) / (1.1 * warm_up)
    return 0.5 * (1.0 + math.cos(math.pi * (done - warm_up) / (1.0 - warm_up)))


def job_digest(options: Options, told: object) -> str:
    """Return SHA-256 of what a training was asked to do."""
    asked = json.dumps([asdict(options), told], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()
