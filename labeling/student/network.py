"""The student's network: attention over the tokens of a report, one query an observation.

Attention pooling of token vectors for report classification follows Wood et al. (MIDL 2020). Ours
adds a learned weight for each case of ``Scope``, so that one query reads every site, and a token
of nothing, on which attention rests where the report says nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from labeling.student.scope import Scope
from labeling.vocabulary import State

STATES = (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.NOT_MENTIONED)
"""What the network tells apart, in the order of its outputs."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of the network."""

    inputs: int
    observations: int
    hidden: int = 192
    keys: int = 96
    values: int = 128
    dropout: float = 0.2

    def as_row(self) -> dict[str, Any]:
        """Return the sizes as values of JSON."""
        return asdict(self)


class AttentionReader(nn.Module):
    """Reads token vectors; gives logits of the states and the attention that led to them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        count = sizes.observations
        self.adapter = nn.Sequential(
            nn.LayerNorm(sizes.inputs),
            nn.Linear(sizes.inputs, sizes.hidden),
            nn.GELU(),
            nn.Dropout(sizes.dropout),
        )
        self.key = nn.Linear(sizes.hidden, sizes.keys)
        self.value = nn.Linear(sizes.hidden, sizes.values)
        self.query = nn.Parameter(torch.randn(count, sizes.keys) * sizes.keys**-0.5)
        self.scope = nn.Parameter(_initial_scope().repeat(count, 1))
        self.nothing = nn.Parameter(torch.zeros(count))
        self.nothing_value = nn.Parameter(torch.zeros(sizes.values))
        self.pooled = nn.Linear(sizes.values, sizes.values)
        self.kind = nn.Parameter(torch.zeros(count, 2, sizes.values))
        self.dropout = nn.Dropout(sizes.dropout)
        self.states = nn.Linear(sizes.values, len(STATES))
        self.prior = nn.Parameter(torch.zeros(count, 2, len(STATES)))

    def forward(
        self, vectors: torch.Tensor, mask: torch.Tensor, cases: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read a batch of reports.

        Args:
            vectors: (reports, tokens, inputs).
            mask: (reports, tokens), true where there is a token.
            cases: (reports, tokens, places) of ``Scope``; place 0 is the whole report.

        Returns:
            Logits (reports, observations, places, states), and attention
            (reports, observations, places, tokens), which sums to 1 less what rests on nothing.
        """
        return self.pool(self.weigh(vectors), mask, cases)

    def weigh(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return what the network makes of single tokens: their scores and values side by side.

        Args:
            vectors: (..., inputs).

        Returns:
            Shape (..., observations + values).
        """
        hidden = self.adapter(vectors)
        return torch.cat([self.key(hidden) @ self.query.T, self.value(hidden)], dim=-1)

    def pool(
        self, weighed: torch.Tensor, mask: torch.Tensor, cases: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``forward`` does from what ``weigh`` gave for each token."""
        scores, values = weighed.split_with_sizes([len(self.query), self.sizes.values], dim=-1)
        bias = self.scope.T[cases.long()]  # (reports, tokens, places, observations)
        biased = (scores.unsqueeze(2) + bias).permute(0, 3, 2, 1)
        biased = biased.masked_fill(~mask[:, None, None, :], float("-inf"))
        nothing = self.nothing[None, :, None, None].expand(*biased.shape[:3], 1)
        attention = torch.cat([nothing, biased], dim=-1).softmax(-1)
        values = torch.cat([self.nothing_value.expand(len(values), 1, -1), values], dim=1)
        pooled = torch.einsum("bost,btv->bosv", attention, values)
        # Column 0 of ``kind`` is for the whole report, column 1 for every site alike.
        kinds = torch.tensor([0] + [1] * (cases.shape[2] - 1))
        hidden = nn.functional.gelu(self.pooled(pooled) + self.kind[None, :, kinds])
        logits = self.states(self.dropout(hidden)) + self.prior[None, :, kinds]
        return logits, attention[..., 1:]


def _initial_scope() -> torch.Tensor:
    """Start from what the cases mean: what speaks of other sites hardly counts for this one."""
    start = torch.zeros(1, len(Scope))
    start[0, Scope.BESIDE] = -1.0
    start[0, Scope.FOLLOWING] = -0.5
    start[0, [Scope.OTHER_NAMED, Scope.OTHER_HEADED, Scope.OUTSIDE]] = -4.0
    start[0, Scope.OTHER_FOLLOWING] = -2.0
    return start


def margins(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-odds of present against the rest, and of mentioned against not mentioned."""
    present = logits[..., 0] - logits[..., 1:].logsumexp(-1)
    mentioned = logits[..., :3].logsumexp(-1) - logits[..., 3]
    return present, mentioned
