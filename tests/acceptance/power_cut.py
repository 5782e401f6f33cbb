"""Directory states that a power cut may leave behind, made from a trace, and the node's recovery.

The disk is modelled as POSIX allows it, in one respect milder: a rename that reached the disk did
so on both sides, because every journalling file system has it so. Bytes that were not synced are
there or not, write by write, some of them torn; names that were not synced are there or not, each
by itself. What is synced stays, with what it depends on (the folder it lies in, the earlier
names of the same file).
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.database import utc_now
from dicom_node.indexing import index_spool
from dicom_node.mllp.journal import Journal
from dicom_node.storage import DicomStore
from plugin.context import open_context
from plugin.settings import Settings
from plugin.stages.file_messages import file_waiting
from tests.acceptance.disk_events import (
    Created,
    Event,
    FolderMade,
    Linked,
    Removed,
    Renamed,
    Synced,
    Truncated,
    Written,
)
from tests.acceptance.modality import QUARANTINED, SUCCESS, Ledger
from tests.acceptance.store_audit import Auditor, Findings
from tests.acceptance.sync_oracle import message_answers, store_answers

if TYPE_CHECKING:
    from tests.acceptance.sync_before_answer import Traced

_EARLY_SHARE = 0.5
_SQLITE_SHARED_MEMORY = "-shm"


@dataclass
class _Node:
    """A file or a folder with everything that was ever done to its content."""

    number: int
    is_folder: bool = False
    changes: list[Written | Truncated | Created] = field(default_factory=list)
    syncs: list[Synced] = field(default_factory=list)


@dataclass(frozen=True)
class _Naming:
    """A change of names: ``target`` appears (or, where empty, only ``source`` goes)."""

    order: int
    event: Event
    node: _Node
    source: str = ""
    target: str = ""

    @property
    def folders(self) -> set[str]:
        """The folders whose sync makes it last."""
        return {os.path.dirname(path) for path in (self.source, self.target) if path}


class Disk:
    """What a trace did to one folder.

    Args:
        happened: events in the order of their ends, from an empty folder on.
    """

    def __init__(self, happened: Iterable[Event]) -> None:
        self._numbers = count()
        self._names: dict[str, _Node] = {}
        self._namings: list[_Naming] = []
        self._nodes: list[_Node] = []
        for event in happened:
            self._take(event)

    def crash(self, at: int, chance: random.Random, root: str) -> dict[str, bytes | None]:
        """Return a state that a power cut at position ``at`` may leave.

        Returns:
            Paths relative to ``root`` with their content; None is a folder.
        """
        begun = [each for each in self._namings if each.event.begin < at]
        kept = self._durable(begun, at)
        tendency = chance.random()
        kept |= {each.order for each in begun if chance.random() < tendency}
        names: dict[str, _Node] = {root: _Node(-1, is_folder=True)}
        for each in begun:
            if each.order in kept:
                _apply(each, names)
        contents: dict[int, bytes] = {}
        state: dict[str, bytes | None] = {}
        for path, node in sorted(names.items()):
            if path == root or path.endswith(_SQLITE_SHARED_MEMORY):
                continue
            if node.number not in contents and not node.is_folder:
                contents[node.number] = _content(node, at, chance)
            state[os.path.relpath(path, root)] = contents.get(node.number)
        return state

    def _durable(self, begun: Sequence[_Naming], at: int) -> set[int]:
        """Return the namings that are on the disk for certain, with what they rest on."""
        syncs: dict[str, list[Synced]] = {}
        for path, node in self._names.items():
            syncs[path] = [each for each in node.syncs if each.end < at]
        wanted = [
            each
            for each in begun
            if any(
                each.event.end < sync.begin
                for folder in each.folders
                for sync in syncs.get(folder, ())
            )
        ]
        kept: set[int] = set()
        while wanted:
            each = wanted.pop()
            if each.order in kept:
                continue
            kept.add(each.order)
            wanted += [
                earlier
                for earlier in begun
                if earlier.order < each.order
                and (earlier.node is each.node or earlier.target in each.folders)
            ]
        return kept

    def _take(self, event: Event) -> None:
        if isinstance(event, Created):
            if event.path not in self._names:
                self._name(event, self._new(), target=event.path)
            elif event.truncated:
                self._names[event.path].changes.append(event)
        elif isinstance(event, FolderMade):
            self._name(event, self._new(is_folder=True), target=event.path)
        elif isinstance(event, Written | Truncated):
            if event.path in self._names:
                self._names[event.path].changes.append(event)
        elif isinstance(event, Synced):
            self._node(event.path).syncs.append(event)
        elif isinstance(event, Renamed):
            self._name(event, self._names.pop(event.source), event.source, event.path)
        elif isinstance(event, Linked):
            self._name(event, self._names[event.source], target=event.path)
        elif isinstance(event, Removed) and event.path in self._names:
            self._name(event, self._names.pop(event.path), source=event.path)

    def _new(self, *, is_folder: bool = False) -> _Node:
        self._nodes.append(_Node(next(self._numbers), is_folder))
        return self._nodes[-1]

    def _name(self, event: Event, node: _Node, source: str = "", target: str = "") -> None:
        if target:
            self._names[target] = node
        self._namings.append(_Naming(len(self._namings), event, node, source, target))

    def _node(self, path: str) -> _Node:
        if path not in self._names:
            self._names[path] = self._new(is_folder=True)
        return self._names[path]


def _apply(naming: _Naming, names: dict[str, _Node]) -> None:
    """Do it unless what it rests on did not reach the disk."""
    if any(folder not in names for folder in naming.folders):
        return
    if naming.source:
        if names.get(naming.source) is not naming.node:
            return
        del names[naming.source]
    if naming.target:
        names[naming.target] = naming.node


def _content(node: _Node, at: int, chance: random.Random) -> bytes:
    """Return the file's bytes after the cut: synced ones for certain, the others as it happens."""
    content = bytearray()
    tendency = chance.random()
    for change in node.changes:
        if change.begin >= at:
            continue
        safe = any(change.end < sync.begin and sync.end < at for sync in node.syncs)
        if not safe and chance.random() > tendency:
            continue
        if isinstance(change, Truncated | Created):
            size = change.size if isinstance(change, Truncated) else 0
            content = content[:size].ljust(size, b"\0")
            continue
        data = change.data
        if not safe and chance.random() < _EARLY_SHARE:
            data = data[: chance.randrange(len(data) + 1)]
        end = change.offset + len(data)
        if len(content) < end:
            content = content.ljust(end, b"\0")
        content[change.offset : end] = data
    return bytes(content)


def write_state(folder: Path, state: dict[str, bytes | None]) -> None:
    """Write a state to an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in sorted(state.items()):
        path = folder / name
        if content is None:
            path.mkdir(mode=0o700)
        else:
            path.write_bytes(content)


def recover(folder: Path) -> None:
    """Do what a starting node does: collect what is half-written, open the database, index."""
    settings = Settings(data_folder=folder)
    with open_context(settings) as context:
        store = DicomStore(folder)
        store.recover()
        index_spool(context.database, store, settings.dicom, utc_now)
        Journal(context.folder.messages).close()
        file_waiting(context, context.linking())


def told_until(traced: Traced, at: int) -> Ledger:
    """Return what had been acknowledged at a position of the trace."""
    told = Ledger()
    for answer in store_answers(traced.happened, traced.port):
        if answer.position <= at:
            digest = traced.items[answer.key].digest
            if answer.status == SUCCESS:
                told.stored[digest] = answer.key
            elif answer.status in QUARANTINED:
                told.quarantined[digest] = answer.key
    for answer in message_answers(traced.happened, traced.hl7_port):
        if answer.position <= at:
            told.messages[answer.key] = traced.messages[answer.key]
    return told


def play(traced: Traced, states: int, seed: int, scratch: Path) -> dict[str, int]:
    """Recover from so many states; return how many objects and messages were lost or torn in all.

    Half of the cuts come right after an answer, when the promise is youngest.
    """
    chance = random.Random(seed)
    disk = Disk(traced.happened)
    last = max(event.end for event in traced.happened)
    answers = [answer.position for answer in store_answers(traced.happened, traced.port)]
    answers += [answer.position for answer in message_answers(traced.happened, traced.hl7_port)]
    total, kinds = Findings(), Counter[str]()
    acknowledged = 0
    for number in range(states):
        young = number % 2 == 0
        at = chance.choice(answers) + 1 if young else chance.randrange(min(answers), last + 2)
        folder = scratch / str(number)
        write_state(folder, disk.crash(at, chance, traced.root))
        told = told_until(traced, at)
        acknowledged += told.acknowledged
        try:
            recover(folder)
            total += Auditor(folder).audit(told)
        except Exception as error:
            # Whatever it was: a node that does not start has lost everything for its peers.
            kinds[f"not recovered, {type(error).__name__}"] += 1
            total.lost += [*told.stored, *told.quarantined, *told.messages]
        kinds["after an answer" if young else "anywhere"] += 1
        shutil.rmtree(folder)
    return {
        "states": states,
        "acknowledged": acknowledged,
        "lost": len(total.lost),
        "doubled": len(total.doubled),
        "torn": len(total.torn),
        **kinds,
    }
