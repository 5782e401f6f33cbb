"""Reads reports and what is asked about them, and remembers the beginnings that come again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from labeling.llm.chat import ChatFormat
from labeling.llm.forest import NOTHING, PASS, Forest, Kept
from labeling.llm.interface import Reading, UnansweredReport
from labeling.llm.network import Network
from labeling.llm.packing import grow

MAXIMUM_REPORT_TOKENS = 8192
REMEMBERED_TOKENS = 4096
"""Of reports whose keys and values wait for a second call."""

_SEAM = 4  # tokens that may change where a sentence was taken out
_ALIKE = 1.25  # the longest of some reports read side by side, as a multiple of the shortest


@dataclass(frozen=True)
class Job:
    """Tokens to be read of one report: what all prompts share, the report, and each prompt."""

    head: tuple[int, ...]
    prefix: tuple[int, ...]  # begins with ``head``
    paths: Sequence[Sequence[int]]

    @property
    def length(self) -> int:
        """How many tokens are read, where prompts share nothing."""
        return len(self.prefix) + sum(map(len, self.paths))

    @property
    def unread(self) -> int:
        """How many of them follow what all prompts share."""
        return self.length - len(self.head)


class Reader:
    """Reads jobs with one network.

    ``shares`` tells whether texts share their beginnings, or each is read on its own.
    """

    def __init__(
        self, network: Network, chat: ChatFormat, *, side_by_side: int, shares: bool
    ) -> None:
        self._network = network
        self.shares = shares
        self._chat = chat
        self._side_by_side = side_by_side
        self._recent = _Recent()
        self._head = NOTHING

    def fits(self, reading: Reading) -> bool:
        """Tell whether the report leaves room for questions."""
        limit = min(MAXIMUM_REPORT_TOKENS, self._network.longest // 2)
        return len(self._chat.prefix(reading)) <= limit

    def job(self, reading: Reading, paths: Sequence[Sequence[int]], room: int = 0) -> Job:
        """Return the tokens of a reading and of what follows it, with room for as many more.

        Raises:
            UnansweredReport: too many for the model.
        """
        prefix = self._chat.prefix(reading)
        longest = len(prefix) + max(map(len, paths), default=0) + room
        if not self.fits(reading) or longest > self._network.longest:
            raise UnansweredReport("the report has more tokens than the model may read")
        return Job(self._chat.head(reading), tuple(prefix), paths)

    def read(self, jobs: Sequence[Job]) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
        """Yield for some jobs at a time their numbers, and the states after each path.

        States are [paths, width], in the order of the job's paths.
        """
        for some in self.batches(jobs):
            if not self.shares:
                yield some, [self._alone(jobs[number]) for number in some]
                continue
            forest = self.plant([jobs[number] for number in some])
            yield some, forest.read(forget=True)
            self.remember(forest, [jobs[number] for number in some])

    def batches(self, jobs: Sequence[Job]) -> Iterator[list[int]]:
        """Yield numbers of jobs of similar length, longest first; those without paths are left."""
        order = [n for n, job in enumerate(jobs) if job.paths]
        order.sort(key=lambda number: -jobs[number].length)
        batch: list[int] = []
        for number in order:
            parts = batch and jobs[batch[0]].length > _ALIKE * jobs[number].length
            if parts or self._is_full(batch, jobs):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def _is_full(self, batch: Sequence[int], jobs: Sequence[Job]) -> bool:
        """Tell whether a row more is too many.

        Where several may be read, short ones fill a pass, whatever their number.
        """
        if len(batch) < self._side_by_side:
            return False
        return self._side_by_side == 1 or (len(batch) + 1) * jobs[batch[0]].unread > PASS

    def plant(self, jobs: Sequence[Job]) -> Forest:
        """Return a forest of the jobs, begun with what is known of their beginnings."""
        roots = [self._root(job) for job in jobs]
        trees = []
        for job, root in zip(jobs, roots, strict=True):
            rest = job.prefix[len(root.tokens) :]
            trees.append(grow([[*rest, *path] for path in job.paths]))
        return Forest(self._network, roots, trees)

    def remember(self, forest: Forest, jobs: Sequence[Job]) -> None:
        """Keep what was computed of the reports for the next call."""
        for row, job in enumerate(jobs):
            unread = len(job.prefix) - len(forest.roots[row].tokens)
            if job.head and unread:
                self._recent.add(forest.kept(row, unread))

    def _alone(self, job: Job) -> torch.Tensor:
        texts = ([*job.prefix, *path] for path in job.paths)
        return torch.cat([self._network.alone(text) for text in texts])

    def _root(self, job: Job) -> Kept:
        if not job.head:
            return NOTHING
        if self._head.tokens != job.head:
            forest = Forest(self._network, [NOTHING], [grow([job.head])])
            forest.read(forget=False)
            self._head = forest.kept(0, len(job.head))
            self._recent.clear()
        known = self._recent.find(job.prefix)
        return known if len(known.tokens) > len(job.head) else self._head


class _Recent:
    """The beginnings that were read last, up to a number of tokens."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, ...], Kept] = OrderedDict()

    def clear(self) -> None:
        self._kept.clear()

    def add(self, kept: Kept) -> None:
        self._kept[kept.tokens] = kept
        self._kept.move_to_end(kept.tokens)
        while len(self._kept) > 1 and sum(map(len, self._kept)) > REMEMBERED_TOKENS:
            self._kept.popitem(last=False)

    def find(self, prefix: tuple[int, ...]) -> Kept:
        """Return what is known of a text: all of it, or up to where a part was taken out of it.

        Any other common beginning is left, so that an answer does not hang on which reports were
        read before.
        """
        if prefix in self._kept:
            return self._kept[prefix]
        for tokens, kept in self._kept.items():
            same = _alike(tokens, prefix)
            rest = _alike(tokens[::-1], prefix[::-1])
            if len(tokens) > len(prefix) and same + rest >= len(prefix) - _SEAM:
                same = min(same, len(prefix) - 1)
                cut = tuple((keys[:, :same], values[:, :same]) for keys, values in kept.layers)
                return Kept(prefix[:same], cut)
        return NOTHING


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
