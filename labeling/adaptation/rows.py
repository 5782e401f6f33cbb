"""Reports with drawn questions as rows of tokens: each report is read once for all of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from labeling.adaptation.lessons import Course, Lesson, Truth
from labeling.llm.chat import ChatFormat
from labeling.llm.interface import Stem
from labeling.llm.network import Network
from labeling.llm.packing import Tree, grow


@dataclass(frozen=True)
class Row:
    """One report as a tree of tokens, and the lessons at its leaves, in order.

    ``choices`` are for each lesson the tokens of each of its answers.
    """

    tree: Tree
    lessons: tuple[Lesson, ...]
    choices: tuple[tuple[tuple[int, ...], ...], ...]


def drawn(lessons: Sequence[Lesson], count: int, chance: random.Random) -> list[Lesson]:
    """Draw so many lessons, each as often as its weight says, none twice."""
    # Efraimidis and Spirakis, Information Processing Letters 97 (2006): weights become keys.
    keys = {index: chance.random() ** (1.0 / each.weight) for index, each in enumerate(lessons)}
    best = sorted(keys, key=lambda index: -keys[index])[:count]
    return [lessons[index] for index in sorted(best)]


class Rows:
    """Makes rows in the chat format of one model."""

    def __init__(self, chat: ChatFormat, longest: int) -> None:
        self._chat, self._longest = chat, longest

    def row(self, course: Course, truth: Truth, lessons: Sequence[Lesson]) -> Row | None:
        """Return a row; None where the model cannot read so much."""
        reading = course.reading(truth)
        prefix = self._chat.prefix(reading)
        stems = [Stem((each.stem,), (each.question,)) for each in lessons]
        paths = self._chat.paths(reading, stems)
        if not paths or len(prefix) + max(map(len, paths)) > self._longest:
            return None
        choices = tuple(
            tuple(tuple(self._chat.choice_ids(each)) for each in lesson.question.choices)
            for lesson in lessons
        )
        return Row(grow([[*prefix, *path] for path in paths]), tuple(lessons), choices)


def side_by_side(rows: Sequence[Row], tokens: int) -> list[list[Row]]:
    """Part rows into groups of like length that hold at most so many tokens, fillers included.

    A row that is longer alone makes a group of its own.
    """
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -len(row.tree.tokens)):
        if groups and len(groups[-1][0].tree.tokens) * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def read(network: Network, rows: Sequence[Row]) -> list[torch.Tensor]:
    """Return for each lesson of each row, in order, the log-probabilities of its answers.

    They sum to one over the answers, keep gradients and are float32.
    """
    width = max(len(row.tree.tokens) for row in rows)
    tokens, depths, ends = (
        torch.tensor([[*each, *[0] * (width - len(each))] for each in values]).to(network.device)
        for values in (
            [row.tree.tokens for row in rows],
            [row.tree.depths for row in rows],
            [row.tree.ends for row in rows],
        )
    )
    order = torch.arange(width, device=network.device)
    sees = (order[None, None, :] <= order[None, :, None]) & (ends[:, None, :] > order[:, None])
    sees |= torch.eye(width, dtype=torch.bool, device=network.device)  # a filler sees itself
    hidden = network.learning(tokens, depths, sees)
    places = [(number, last) for number, row in enumerate(rows) for last in row.tree.lasts]
    numbers, lasts = (
        torch.tensor(each, device=network.device) for each in zip(*places, strict=True)
    )
    return _answers(network, hidden[numbers, lasts], [c for row in rows for c in row.choices])


def _answers(
    network: Network, hidden: torch.Tensor, choices: Sequence[tuple[tuple[int, ...], ...]]
) -> list[torch.Tensor]:
    """Return log-probabilities of answers; the score of one sums over its spellings."""
    longest = max(sum(map(len, each)) for each in choices)
    flat = [[token for spelled in each for token in spelled] for each in choices]
    padded = torch.tensor(
        [[*each, *[each[0]] * (longest - len(each))] for each in flat], device=network.device
    )
    scores = network.learning_scores(hidden, padded)
    return [
        torch.log_softmax(
            torch.stack(
                [part.logsumexp(0) for part in row[: len(ids)].split([len(c) for c in each])]
            ),
            dim=0,
        )
        for row, ids, each in zip(scores, flat, choices, strict=True)
    ]
