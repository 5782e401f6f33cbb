"""From reports to what the network takes: token vectors, scopes, and where each token stands.

A sentence is encoded by itself. So equal sentences are encoded once, a token's vector knows no
other sentence, and attention on a token is attention on its sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from labeling.sections import ReadableReport
from labeling.student.encoder import Encoder, Tokens
from labeling.student.scope import Cases, ScopeFinder
from labeling.vocabulary import LabelSchema

if TYPE_CHECKING:
    import torch

Span = tuple[int, int]


@dataclass(frozen=True)
class TokenizedReport:
    """A report as a row of tokens.

    Args:
        sentences: the words of each sentence.
        spans: where each sentence stands in the stored text.
        owner: shape (tokens,): the sentence of each token.
        cases: shape (tokens, 1 + sites): its scope for each place.
    """

    sentences: tuple[str, ...]
    spans: tuple[Span, ...]
    owner: npt.NDArray[np.int64]
    cases: Cases


class Tokenizer:
    """Cuts reports into tokens; remembers nothing but the sentences of one call."""

    def __init__(self, schema: LabelSchema, encoder: Encoder) -> None:
        self._scopes = ScopeFinder(schema)
        self._encoder = encoder

    def read(
        self, reports: Sequence[ReadableReport]
    ) -> tuple[list[TokenizedReport], dict[str, Tokens]]:
        """Return the reports in tokens, and the tokens of each different sentence."""
        words = [[each.text[start:end] for start, end in each.spans] for each in reports]
        different = list(dict.fromkeys(sentence for each in words for sentence in each))
        tokens = dict(zip(different, self._encoder.tokenize(different), strict=True))
        read = [self._read(*each, tokens) for each in zip(reports, words, strict=True)]
        return read, tokens

    def _read(
        self, report: ReadableReport, words: Sequence[str], tokens: Mapping[str, Tokens]
    ) -> TokenizedReport:
        scopes = self._scopes.find(report.text, report.sentences)
        cases = [
            self._scopes.cases(scope, tokens[sentence].offsets)
            for scope, sentence in zip(scopes, words, strict=True)
        ]
        owner = np.repeat(np.arange(len(words)), [len(each) for each in cases])
        return TokenizedReport(tuple(words), report.spans, owner, np.concatenate(cases))


@dataclass(frozen=True)
class Batch:
    """Reports side by side, padded: the arguments of ``AttentionReader.forward``, or ``pool``."""

    vectors: torch.Tensor
    mask: torch.Tensor
    cases: torch.Tensor


def side_by_side(reports: Sequence[TokenizedReport], vectors: Mapping[str, torch.Tensor]) -> Batch:
    """Return reports padded to the longest, with the vectors of their sentences."""
    import torch

    rows = [torch.cat([vectors[sentence] for sentence in each.sentences]) for each in reports]
    length = max(1, *map(len, rows)) if rows else 1
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    padded = torch.zeros(len(rows), length, rows[0].shape[1])
    cases = torch.zeros(len(rows), length, reports[0].cases.shape[1], dtype=torch.uint8)
    for i, (row, report) in enumerate(zip(rows, reports, strict=True)):
        padded[i, : len(row)] = row
        mask[i, : len(row)] = True
        cases[i, : len(row)] = torch.from_numpy(report.cases)
    return Batch(padded, mask, cases)
