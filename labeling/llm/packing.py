"""Lays questions out side by side after a shared report, with a mask in the shape of a tree."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Branch:
    """A run of tokens that follows the report, or another run, and may end in an answer."""

    tokens: list[int]
    parent: int | None
    answers: bool


def packs(branches: list[Branch], limit: int) -> list[list[Branch]]:
    """Cut the branches into packs of bounded length; a stem is repeated where a cut parts it."""
    packs: list[list[Branch]] = [[]]
    stem_at: dict[int, int] = {}
    length = 0
    for branch in branches:
        if branch.parent is None:
            continue
        stem = branches[branch.parent]
        needed = len(branch.tokens) + (0 if branch.parent in stem_at else len(stem.tokens))
        if packs[-1] and length + needed > limit:
            packs.append([])
            stem_at, length = {}, 0
            needed = len(branch.tokens) + len(stem.tokens)
        if branch.parent not in stem_at:
            stem_at[branch.parent] = len(packs[-1])
            packs[-1].append(stem)
        packs[-1].append(Branch(branch.tokens, stem_at[branch.parent], answers=True))
        length += needed
    return packs


def layout(
    prefix: int, branches: list[Branch]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lay branches out side by side.

    Returns:
        token ids [1, n]; positions [1, n]; the additive mask [1, 1, n, prefix + n], zero where a
        token may look and the least number elsewhere; the index of each answering token.
    """
    total = sum(len(branch.tokens) for branch in branches)
    starts: list[int] = []
    tokens: list[int] = []
    positions: list[int] = []
    ends: list[int] = []
    sees = torch.zeros(total, prefix + total, dtype=torch.bool)
    sees[:, :prefix] = True
    for branch in branches:
        start, size = len(tokens), len(branch.tokens)
        own = slice(prefix + start, prefix + start + size)
        sees[start : start + size, own] = torch.ones(size, size, dtype=torch.bool).tril()
        first = prefix
        if branch.parent is not None:
            above, above_size = starts[branch.parent], len(branches[branch.parent].tokens)
            sees[start : start + size, prefix + above : prefix + above + above_size] = True
            first += above_size
        starts.append(start)
        tokens += branch.tokens
        positions += range(first, first + size)
        if branch.answers:
            ends.append(len(tokens) - 1)
    mask = torch.zeros(sees.shape).masked_fill_(~sees, torch.finfo(torch.float32).min)
    return (
        torch.tensor([tokens]),
        torch.tensor([positions]),
        mask[None, None],
        torch.tensor(ends),
    )
