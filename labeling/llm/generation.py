"""Writes texts greedily: all that is asked about some reports, one token of each at a time.

The texts about one report are branches of one row, so its keys and values exist once. Where a
grammar leaves no choice, its tokens are taken together, without a step of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from labeling.llm.chat import ChatFormat
from labeling.llm.forest import Forest
from labeling.llm.grammar import Constraint, Grammars
from labeling.llm.interface import (
    Ask,
    Generated,
    GenerateRequest,
    Step,
    UnusableLanguageModel,
)
from labeling.llm.network import Network
from labeling.llm.reader import Job, Reader

_CLOSE = 8  # the best tokens, whose order half precision may confuse


@dataclass
class Draft:
    """A text that is being written; ``pending`` tokens are taken but not yet read."""

    ask: Ask
    constraint: Constraint | None
    row: int = 0
    position: int = 0  # of its next token
    tokens: list[int] = field(default_factory=list)
    alternatives: list[dict[int, float]] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    done: bool = False
    complete: bool = False

    def take(self, token: int, alternatives: dict[int, float], stops: frozenset[int]) -> None:
        """Add a chosen token and those that the grammar forces after it."""
        if token in stops:
            self.done = True
            self.complete = self.constraint is None or self.constraint.complete
            return
        self._add(token, alternatives)
        if self.constraint is not None:
            self.constraint.accept(token)
            self.force()

    def force(self) -> None:
        """Take the tokens that the grammar leaves no choice about."""
        if self.constraint is None:
            return
        for token in self.constraint.forced():
            if not self.done:
                self.constraint.accept(token)
                self._add(token, {})
        if self.constraint.finished:
            self.done = self.complete = True

    def _add(self, token: int, alternatives: dict[int, float]) -> None:
        self.tokens.append(token)
        self.alternatives.append(alternatives)
        self.pending.append(token)
        self.done = len(self.tokens) >= self.ask.maximum_tokens


class Generator:
    """Generates with one network."""

    def __init__(self, network: Network, chat: ChatFormat, reader: Reader) -> None:
        self._network = network
        self._chat = chat
        self._reader = reader
        self._grammars = Grammars(chat.tokenizer, network.vocabulary)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Generated]]:
        """Return the texts by request and ask.

        Raises:
            UnusableLanguageModel: a grammar cannot be used, or a report does not fit.
        """
        drafts = [self._drafts(request) for request in requests]
        jobs = [self._job(r, some) for r, some in zip(requests, drafts, strict=True)]
        for some in self._reader.batches(jobs):
            if not self._reader.shares:
                for number in some:
                    self._write_alone(jobs[number], drafts[number])
                continue
            forest = self._reader.plant([jobs[number] for number in some])
            states = forest.read(forget=False)
            self._reader.remember(forest, [jobs[number] for number in some])
            for row, number in enumerate(some):
                for draft in drafts[number]:
                    draft.row = row
            self._write(forest, [drafts[number] for number in some], states)
        return [[self._finished(draft) for draft in some] for some in drafts]

    def _drafts(self, request: GenerateRequest) -> list[Draft]:
        grammars = self._grammars
        drafts = [
            Draft(ask, grammars.begin(ask.grammar) if ask.grammar else None) for ask in request.asks
        ]
        for draft in drafts:
            draft.force()
        return drafts

    def _job(self, request: GenerateRequest, drafts: Sequence[Draft]) -> Job:
        """Return the prompts to be read, each with the tokens that its grammar forces at first."""
        reading, paths = request.reading, []
        for draft in drafts:
            turns = draft.ask.turns
            closing = self._chat.closing(reading, len(turns))
            paths.append([*self._chat.turns(reading, turns), *closing, *draft.pending])
            draft.pending.clear()
        room = max((draft.ask.maximum_tokens for draft in drafts), default=0)
        job = self._reader.job(reading, paths, room)
        for draft, path in zip(drafts, paths, strict=True):
            draft.position = len(job.prefix) + len(path)
        return job

    def _write(
        self, forest: Forest, by_row: Sequence[Sequence[Draft]], states: Sequence[torch.Tensor]
    ) -> None:
        """Write all texts to their ends; ``states`` are after each prompt: [asks, width] a row."""
        drafts = [draft for some in by_row for draft in some]
        writing = Writing(forest, by_row)
        begun = [n for n, draft in enumerate(drafts) if not draft.done]
        if begun:
            self._choose([drafts[n] for n in begun], torch.cat(list(states))[begun])
        while waiting := [draft for draft in drafts if not draft.done]:
            self._choose(waiting, writing.step(waiting))

    def _write_alone(self, job: Job, drafts: Sequence[Draft]) -> None:
        """Write texts one after another, each after all of its prompt."""
        for draft, path in zip(drafts, job.paths, strict=True):
            prompt = [*job.prefix, *path]
            # Another memory than keys and values is not ours to keep: all is read for each token.
            cache = self._network.own_cache() if self._network.packs else None
            state = self._network.alone(prompt, cache)
            while not draft.done:
                self._choose([draft], state)
                if not draft.done:
                    more = draft.pending if cache is not None else [*prompt, *draft.tokens]
                    state = self._network.alone(more, cache)
                    draft.pending.clear()

    def _choose(self, drafts: Sequence[Draft], states: torch.Tensor) -> None:
        """Let each text take its best next token; states are [texts, width]."""
        logits = self._network.logits(states).clone()
        total = torch.logsumexp(logits, dim=-1)
        logits[:, self._chat.size :] = -torch.inf  # rows that only fill up the output layer
        weighed = logits.clone()
        for row, draft in enumerate(drafts):
            _penalise(weighed[row], draft)
            if draft.constraint is not None:
                allowed = draft.constraint.allowed().to(weighed.device)
                weighed[row].masked_fill_(~allowed, -torch.inf)
                logits[row].masked_fill_(~allowed, -torch.inf)
        shown = max([_CLOSE, *(draft.ask.alternatives for draft in drafts)])
        best = weighed.topk(min(shown, weighed.shape[1])).indices
        exact = self._network.precise(states, best)
        changed = weighed.gather(1, best) - logits.gather(1, best)  # by the penalty
        usable = torch.isfinite(weighed.gather(1, best))
        ranks = (exact + changed).masked_fill(~usable, -torch.inf)
        for row, draft in enumerate(drafts):
            if not usable[row].any():
                raise UnusableLanguageModel("the model answers with numbers that are not finite")
            token = int(best[row, int(ranks[row].argmax())])
            shares = (exact[row] - total[row]).tolist()
            order = [n for n in ranks[row].argsort(descending=True).tolist() if usable[row, n]]
            listed = {int(best[row, n]): shares[n] for n in order[: draft.ask.alternatives]}
            draft.take(token, listed, self._chat.stops)

    def _finished(self, draft: Draft) -> Generated:
        texts = self._chat.decode_each(draft.tokens)
        steps = tuple(
            Step(text, self._named(alternatives))
            for text, alternatives in zip(texts, draft.alternatives, strict=True)
        )
        return Generated("".join(texts), steps, draft.complete)

    def _named(self, alternatives: dict[int, float]) -> dict[str, float]:
        """Return log-probabilities by text; tokens with one text are summed."""
        named: dict[str, float] = {}
        for token, share in alternatives.items():
            text = self._chat.decode([token])
            both = torch.tensor([named.get(text, -torch.inf), share]).logsumexp(0)
            named[text] = float(both)
        return named


class Writing:
    """The columns that each text sees, and one step of all texts that go on."""

    def __init__(self, forest: Forest, by_row: Sequence[Sequence[Draft]]) -> None:
        self._forest = forest
        self._rows = list(range(len(by_row)))  # of the forest, by the numbers they began with
        self._sees = {
            id(draft): forest.seen_by(row, last)
            for row, (some, tree) in enumerate(zip(by_row, forest.trees, strict=True))
            for draft, last in zip(some, tree.lasts, strict=True)
        }

    def step(self, drafts: Sequence[Draft]) -> torch.Tensor:
        """Read the pending tokens of these texts; return the states after them: [texts, width]."""
        self._leave({draft.row for draft in drafts})
        places = {row: place for place, row in enumerate(self._rows)}
        used = [0] * len(self._rows)
        starts: list[int] = []
        for draft in drafts:
            starts.append(used[places[draft.row]])
            used[places[draft.row]] += len(draft.pending)
        columns, width = self._forest.positions.shape[1], max(used)
        device = self._forest.positions.device
        tokens = torch.zeros(len(used), width, dtype=torch.int64, device=device)
        positions = torch.zeros_like(tokens)
        sees = torch.zeros(len(used), width, columns + width, dtype=torch.bool, device=device)
        sees[:, torch.arange(width), columns + torch.arange(width)] = True
        ends: list[tuple[int, int]] = []
        for draft, start in zip(drafts, starts, strict=True):
            row, count = places[draft.row], len(draft.pending)
            run = slice(start, start + count)
            tokens[row, run] = torch.tensor(draft.pending, device=device)
            positions[row, run] = torch.arange(draft.position, draft.position + count)
            sees[row, run, :columns] = self._sees[id(draft)]
            own = slice(columns + start, columns + start + count)
            sees[row, run, own] = torch.ones(count, count, dtype=torch.bool).tril()
            ends.append((row, start + count - 1))
            draft.position += count
            draft.pending.clear()
        hidden = self._forest.append(tokens, positions, sees)
        for draft, (row, last) in zip(drafts, ends, strict=True):
            self._sees[id(draft)] = sees[row, last]
        return torch.stack([hidden[row, last] for row, last in ends])

    def _leave(self, needed: set[int]) -> None:
        """Let go of the rows in which every text is done."""
        if needed != set(self._rows):
            self._forest.select([n for n, row in enumerate(self._rows) if row in needed])
            self._rows = [row for row in self._rows if row in needed]


def _penalise(scores: torch.Tensor, draft: Draft) -> None:
    """Make the tokens of the text so far less likely (Keskar et al., 2019), in place."""
    if draft.ask.repetition_penalty != 1.0 and draft.tokens:
        used = torch.tensor(sorted(set(draft.tokens)), device=scores.device)
        found = scores[used]
        penalty = draft.ask.repetition_penalty
        scores[used] = torch.where(found > 0, found / penalty, found * penalty)
