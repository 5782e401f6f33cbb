"""Reads several trees of tokens side by side, one a row, and keeps what was computed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from labeling.llm.network import Network
from labeling.llm.packing import Tree

PASS = 1024
"""Tokens of all rows in one forward pass."""

_NEVER = torch.iinfo(torch.int64).max
_SPARE = 0.75  # columns are thrown away once they leave at most this share


@dataclass(frozen=True)
class Kept:
    """Keys and values of the beginning of a text, by layer: [heads, tokens, width] each."""

    tokens: tuple[int, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]


NOTHING = Kept((), ())


class Forest:
    """The columns that were read of each row.

    A column is seen by the tokens of its row from ``opens`` to before ``closes``, in the order of
    the row's tree.
    """

    def __init__(self, network: Network, roots: Sequence[Kept], trees: Sequence[Tree]) -> None:
        """Begin after ``roots``, which every token of the row sees.

        Args:
            network: must pack.
            roots: one a row; all of them empty, or none.
            trees: one a row.
        """
        self._network = network
        self.trees = trees
        self.roots = roots
        lengths = [len(root.tokens) for root in roots]
        self.cache = _joined(roots)
        device = network.device
        places = torch.arange(max(lengths), device=device).expand(len(roots), -1)
        real = places < torch.tensor(lengths, device=device)[:, None]
        self.opens = torch.where(real, -1, _NEVER)
        self.closes = torch.where(real, _NEVER, -1)
        self.positions = places.clone()

    def read(self, *, forget: bool) -> list[torch.Tensor]:
        """Read the trees in passes of bounded length.

        Args:
            forget: throw away columns that no later token of the tree sees.

        Returns:
            for each row the hidden states of the last token of each path: [paths, width].
        """
        longest = max(len(tree.tokens) for tree in self.trees)
        width = max(PASS // len(self.trees), 1)
        found: list[dict[int, torch.Tensor]] = [{} for _ in self.trees]
        for start in range(0, longest, width):
            stop = min(start + width, longest)
            hidden = self._pass(start, stop)
            for row, tree in enumerate(self.trees):
                for index in set(tree.lasts):
                    if start <= index < stop:
                        found[row][index] = hidden[row, index - start]
            if forget and stop < longest:
                self._forget(stop)
        return [
            torch.stack([at[index] for index in tree.lasts])
            for tree, at in zip(self.trees, found, strict=True)
        ]

    def kept(self, row: int, count: int) -> Kept:
        """Return the root of a row with the first ``count`` tokens of its tree, a single path."""
        opens = self.opens[row]
        columns = torch.nonzero(opens < count).flatten()
        columns = columns[torch.argsort(self.positions[row, columns])]
        layers = tuple(
            (layer.keys[row].index_select(1, columns), layer.values[row].index_select(1, columns))
            for layer in self.cache.layers
        )
        return Kept((*self.roots[row].tokens, *self.trees[row].tokens[:count]), layers)

    def append(
        self, tokens: torch.Tensor, positions: torch.Tensor, sees: torch.Tensor
    ) -> torch.Tensor:
        """Read tokens [rows, n] that see columns by ``sees`` [rows, n, columns + n]."""
        self.positions = torch.cat([self.positions, positions], dim=1)
        distances = positions[:, :, None] - self.positions[:, None, :]
        return self._network.forward(tokens, positions, sees, distances, self.cache)

    def seen_by(self, row: int, index: int) -> torch.Tensor:
        """Return which columns a token that follows this one of the tree sees: bool [columns]."""
        return (self.opens[row] <= index) & (self.closes[row] > index)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows."""
        chosen = torch.tensor(rows, device=self.positions.device)
        self.positions = self.positions[chosen]
        self.cache.batch_select_indices(chosen)

    def _pass(self, start: int, stop: int) -> torch.Tensor:
        tokens, depths, closes = (
            torch.tensor([_cut(values, start, stop, filler) for values in each])
            .to(self._network.device)
            for each, filler in (
                ([tree.tokens for tree in self.trees], 0),
                ([tree.depths for tree in self.trees], 0),
                ([tree.ends for tree in self.trees], -1),
            )
        )  # fmt: skip
        order = torch.arange(start, stop, device=self._network.device)
        self.opens = torch.cat([self.opens, torch.where(closes >= 0, order, _NEVER)], dim=1)
        self.closes = torch.cat([self.closes, closes], dim=1)
        sees = self.opens[:, None, :] <= order[None, :, None]
        sees &= self.closes[:, None, :] > order[None, :, None]
        own = torch.arange(stop - start)
        sees[:, own, sees.shape[2] - (stop - start) + own] = True  # a filler sees only itself
        roots = torch.tensor([len(root.tokens) for root in self.roots], device=depths.device)
        return self.append(tokens, depths + roots[:, None], sees)

    def _forget(self, start: int) -> None:
        """Throw away the columns that no token from ``start`` on sees."""
        needed = self.closes > start
        count = int(needed.sum(1).max())
        if count > _SPARE * needed.shape[1]:
            return
        columns = torch.argsort((~needed).int(), dim=1, stable=True)[:, :count]
        spare = ~needed.gather(1, columns)
        self.opens = self.opens.gather(1, columns).masked_fill_(spare, _NEVER)
        self.closes = self.closes.gather(1, columns).masked_fill_(spare, -1)
        self.positions = self.positions.gather(1, columns)
        for layer in self.cache.layers:
            layer.keys = _chosen(layer.keys, columns)
            layer.values = _chosen(layer.values, columns)


def _chosen(states: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    rows, heads, _, width = states.shape
    return states.gather(2, columns[:, None, :, None].expand(rows, heads, -1, width))


def _cut(values: Sequence[int], start: int, stop: int, filler: int) -> list[int]:
    found = list(values[start:stop])
    return found + [filler] * (stop - start - len(found))


def _joined(roots: Sequence[Kept]) -> DynamicCache:
    """Return a cache whose rows begin with these keys and values; shorter ones end in zeros."""
    cache = DynamicCache()
    longest = max(len(root.tokens) for root in roots)
    for number in range(len(roots[0].layers)):
        keys, values = (
            torch.stack([_filled(root.layers[number][which], longest) for root in roots])
            for which in (0, 1)
        )
        cache.update(keys, values, number)
    return cache


def _filled(states: torch.Tensor, length: int) -> torch.Tensor:
    return torch.nn.functional.pad(states, (0, 0, 0, length - states.shape[1]))
