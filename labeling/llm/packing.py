"""Trees of tokens: texts that begin alike share their beginning, and are read side by side.

A tree stands in depth-first order, so a token's successors are the range up to its ``end``: one
token sees another exactly where the other stands before it and ends after it. SpecInfer (Miao et
al., ASPLOS 2024) uses such masks for drafts of a text; here the branches are questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tree:
    """Tokens in depth-first order.

    Args:
        tokens: their ids.
        depths: how many tokens stand before each on its path.
        ends: index after the last token that follows it.
        lasts: for each path that the tree was grown from, the index of its last token.
    """

    tokens: list[int]
    depths: list[int]
    ends: list[int]
    lasts: list[int]


def grow(paths: Sequence[Sequence[int]]) -> Tree:
    """Return the tree of these paths of tokens; none may be empty."""
    tree = Tree([], [], [], [0] * len(paths))
    above: list[int] = []  # indices of the tokens on the path at hand
    for number in sorted(range(len(paths)), key=lambda index: tuple(paths[index])):
        path = paths[number]
        shared = _shared(tree, above, path)
        _close(tree, above, shared)
        for depth in range(shared, len(path)):
            above.append(len(tree.tokens))
            tree.tokens.append(path[depth])
            tree.depths.append(depth)
            tree.ends.append(0)
        tree.lasts[number] = above[-1]
    _close(tree, above, 0)
    return tree


def _shared(tree: Tree, above: Sequence[int], path: Sequence[int]) -> int:
    for depth, (index, token) in enumerate(zip(above, path, strict=False)):
        if tree.tokens[index] != token:
            return depth
    return min(len(above), len(path))


def _close(tree: Tree, above: list[int], depth: int) -> None:
    for index in above[depth:]:
        tree.ends[index] = len(tree.tokens)
    del above[depth:]
