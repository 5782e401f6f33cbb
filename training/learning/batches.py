"""Batches of examples: a drawn order, changed inputs, and each process's part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from training.architectures.protocol import Architecture, Batch, Heads, Transform
from training.learning.example import Example
from training.learning.options import seed_of

Part = tuple[int, int]
"""Number of this process, and how many there are."""


class _Changed(Dataset[Example]):
    """Examples as a network sees them: each was changed once, by a seed of its own."""

    def __init__(
        self, architecture: Architecture, examples: Sequence[Example], seed: int | None
    ) -> None:
        self._architecture, self._examples, self._seed = architecture, examples, seed
        self._fixed = architecture.evaluation_transform()

    def __getitem__(self, row: int) -> Example:
        transform = self._fixed
        if self._seed is not None:
            # Of its place, not of a running generator: any process or worker draws the same.
            transform = self._architecture.training_transform(seed_of(self._seed, row))
        return changed(self._examples[row], transform)


def changed(example: Example, transform: Transform) -> Example:
    """Return the example with its input, as a whole, changed by the transform."""
    # A copy: inputs may be mapped from a file that must not change.
    given = torch.from_numpy(np.array(example.input, dtype=np.float32))
    return replace(example, input=torch.as_tensor(transform(given)).numpy())


def training_batches(
    architecture: Architecture,
    examples: Sequence[Example],
    heads: Heads,
    batch_size: int,
    seed: int,
    *,
    part: Part = (0, 1),
    workers: int = 0,
) -> Iterator[Batch]:
    """Yield this process's part of every batch of one epoch, in the order that the seed draws.

    Batches that have not at least two examples (batch normalisation needs them), and one for each
    process, are left out.

    Args:
        architecture: changes and collates examples.
        examples: of the training fold.
        heads: of the network.
        batch_size: over all processes together.
        seed: of the epoch.
        part: of this process.
        workers: processes that prepare batches.
    """
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    number, processes = part
    rows = [
        drawn[number::processes]
        for drawn in _cut(order, batch_size)
        if len(drawn) >= max(2, processes)
    ]
    yield from _loaded(architecture, _Changed(architecture, examples, seed), rows, heads, workers)


def steps_of(examples: int, batch_size: int, processes: int = 1) -> int:
    """Return how many batches ``training_batches`` yields."""
    cut = _cut(list(range(examples)), batch_size)
    return sum(len(each) >= max(2, processes) for each in cut)


def evaluation_batches(
    architecture: Architecture,
    examples: Sequence[Example],
    heads: Heads,
    batch_size: int,
    *,
    part: Part = (0, 1),
    workers: int = 0,
) -> Iterator[tuple[list[int], Batch]]:
    """Yield the rows and the batches of every example in order, those of this process's part."""
    number, processes = part
    rows = _cut(list(range(len(examples))), batch_size)[number::processes]
    batches = _loaded(architecture, _Changed(architecture, examples, None), rows, heads, workers)
    yield from zip(rows, batches, strict=True)


def _cut(rows: list[int], size: int) -> list[list[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _loaded(
    architecture: Architecture,
    data: _Changed,
    rows: list[list[int]],
    heads: Heads,
    workers: int,
) -> Iterator[Batch]:
    # A generator of its own: the loader would take a number from the network's.
    generator = torch.Generator().manual_seed(0)
    yield from DataLoader(
        data,
        batch_sampler=rows,
        num_workers=workers,
        collate_fn=_Collate(architecture, heads),
        generator=generator,
    )


class _Collate:
    def __init__(self, architecture: Architecture, heads: Heads) -> None:
        self._architecture, self._heads = architecture, heads

    def __call__(self, examples: list[Example]) -> Batch:
        return self._architecture.collate(examples, self._heads)
