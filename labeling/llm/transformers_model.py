"""A language model in this process: a Hugging Face folder or a GGUF file through transformers.

The report is read once; its keys and values serve all stems and questions, which are read side by
side as a tree of tokens (``packing``). Answers are single tokens, and their scores are computed in
float32 from the rows of the output layer that belong to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from labeling.llm.adapter_file import Adapter, put_on
from labeling.llm.chat import ChatFormat
from labeling.llm.generation import Generator
from labeling.llm.interface import (
    Generated,
    GenerateRequest,
    Question,
    Reading,
    ScoreRequest,
    Scores,
    UnusableLanguageModel,
)
from labeling.llm.network import Network, load
from labeling.llm.reader import Job, Reader
from labeling.processor import Dtype


class TransformersModel:
    """A loaded model. Not for use by several threads at once.

    A model whose layers remember otherwise than by keys and values (recurrent ones) is read text
    by text.
    """

    def __init__(
        self,
        network: Network,
        chat: ChatFormat,
        *,
        name: str,
        digest: str,
        side_by_side: int = 8,
        shares: bool = True,
    ) -> None:
        self.name = name
        self.digest = digest
        self.markers = chat.markers
        self.chat = chat
        self.network = network
        self._side_by_side = side_by_side
        self.reader = Reader(
            network, chat, side_by_side=side_by_side, shares=shares and network.packs
        )
        self._generator = Generator(network, chat, self.reader)
        self._known_choices: dict[tuple[str, ...], list[list[int]]] = {}

    def unshared(self) -> TransformersModel:
        """Return a model of the same weights that reads all of each prompt, one after another."""
        return TransformersModel(
            self.network, self.chat, name=self.name, digest=self.digest, shares=False
        )

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        name: str = "",
        digest: str = "",
        threads: int = 2,
        dtype: Dtype = "float32",
        side_by_side: int = 8,
    ) -> TransformersModel:
        """Load a GGUF file or a folder with safetensors.

        Args:
            path: from the model store, which has checked it; no code of the model is run.
            name: its name there.
            digest: its SHA-256 there.
            threads: for the whole process (torch has one pool), so label in a process of its own.
            dtype: ``float32``, ``bfloat16`` or ``auto``.
            side_by_side: how many reports are read at once.

        Raises:
            UnusableLanguageModel: the files do not form a causal language model.
        """
        torch.set_num_threads(threads)
        model, tokenizer = load(path, dtype)
        network, chat = Network(model), ChatFormat(tokenizer)
        return cls(network, chat, name=name, digest=digest, side_by_side=side_by_side)

    def adapted(self, adapter: Adapter) -> TransformersModel:
        """Return the model with an adapter put on its weights; this one is changed with it.

        The digest is that of model and adapter.

        Raises:
            UnusableAdapter: its matrices are missing, were changed, or do not fit the model.
        """
        put_on(self.network.model, adapter)
        return TransformersModel(
            self.network,
            self.chat,
            name=self.name,
            digest=adapter.description.digest,
            side_by_side=self._side_by_side,
        )

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return len(self.chat.encode(text))

    def fits(self, reading: Reading) -> bool:
        """Tell whether the model can read this and still be asked."""
        return self.reader.fits(reading)

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[list[Scores]]]:
        """Return the scores by request, stem and question.

        Raises:
            UnusableLanguageModel: a choice is no single token, two choices share one, the report
                does not fit, or the model answers with numbers that are not finite.
        """
        jobs = [self._job(request) for request in requests]
        questions = [_questions(request) for request in requests]
        found: list[list[Scores]] = [[] for _ in requests]
        for some, hidden in self.reader.read(jobs):
            for number, states in zip(some, hidden, strict=True):
                found[number] = self._answers(questions[number], states)
        return [_by_stem(r, scores) for r, scores in zip(requests, found, strict=True)]

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Generated]]:
        """Return the texts by request and ask, each generated greedily.

        Raises:
            UnusableLanguageModel: a grammar cannot be used, or a report does not fit.
        """
        return self._generator.generate(requests)

    def _job(self, request: ScoreRequest) -> Job:
        paths = self.chat.paths(request.reading, request.stems)
        return self.reader.job(request.reading, paths)

    def _answers(self, questions: Sequence[Question], hidden: torch.Tensor) -> list[Scores]:
        """Return the scores of each question from the hidden state after it."""
        found: list[Scores] = []
        for question, state in zip(questions, hidden, strict=True):
            ids = self._choices(question.choices)
            flat = self.network.scores(state[None], [each for some in ids for each in some])
            found.append(_summed(flat[0], ids))
        return found

    def _choices(self, choices: tuple[str, ...]) -> list[list[int]]:
        if choices not in self._known_choices:
            ids = [self.chat.choice_ids(choice) for choice in choices]
            if len({each for some in ids for each in some}) < sum(map(len, ids)):
                raise UnusableLanguageModel(f"two of the answers {choices} share a token")
            self._known_choices[choices] = ids
        return self._known_choices[choices]


def _questions(request: ScoreRequest) -> list[Question]:
    return [question for stem in request.stems for question in stem.questions]


def _summed(scores: torch.Tensor, ids: Sequence[Sequence[int]]) -> Scores:
    """Return one score a choice: the log of the sum over its spellings."""
    parts = torch.split(scores.double(), [len(some) for some in ids])
    summed: Scores = tuple(float(torch.logsumexp(part, dim=0)) for part in parts)
    if not all(math.isfinite(score) for score in summed):
        raise UnusableLanguageModel("the model answers with numbers that are not finite")
    return summed


def _by_stem(request: ScoreRequest, scores: Sequence[Scores]) -> list[list[Scores]]:
    rest = iter(scores)
    return [[next(rest) for _ in stem.questions] for stem in request.stems]
