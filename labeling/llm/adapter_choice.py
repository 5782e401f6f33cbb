"""Which adapter goes on a model for what a labeler asks: those that ship, and those of the store.

Importing this file loads neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from dicom_node.durable import write_durably
from labeling.errors import Permanent
from labeling.llm.adapter_file import Adapter, UnusableAdapter, read_adapter
from labeling.llm.model_store import ModelStore

AUTO, NONE = "auto", "none"

FOLDER = ".adapters"
"""Within the model store."""

Asked = Callable[[str], Mapping[str, Mapping[str, str]]]
"""Returns for a kind of words, by language and observation, the SHA-256 of what is asked."""


@dataclass(frozen=True)
class Choice:
    """An adapter, and the kind of words in which it is asked."""

    adapter: Adapter
    kind: str


def chosen(
    name: str, store: ModelStore, base_sha256: str, labeler: str, asked: Asked
) -> Choice | None:
    """Return the adapter for a model and what a labeler asks.

    Args:
        name: ``none``: none; ``auto``: one that was made for this model and these questions, where
            there is one; else this one.
        store: its adapters come before those that ship.
        base_sha256: of the model.
        labeler: its name; an adapter may have learned its words of any kind.
        asked: what it would ask in words of a kind.

    Raises:
        UnusableAdapter: the named one is not there, or was made for something else.
    """
    if name == NONE:
        return None
    candidates = list(_candidates(name, store))
    if name != AUTO and not candidates:
        raise UnusableAdapter(f"no adapter named {name!r}")
    reasons = []
    for adapter in candidates:
        try:
            return _fitting(adapter, base_sha256, labeler, asked)
        except UnusableAdapter as error:
            reasons.append(error)
    if name != AUTO:
        raise reasons[0]
    return None


def adapters(store: ModelStore) -> Iterator[Adapter]:
    """Yield the adapters of the store, then those that ship; one that cannot be read is left."""
    for folder in (store.root / FOLDER, _shipped()):
        for described in sorted(folder.glob("*.json")):
            try:
                yield read_adapter(described)
            except UnusableAdapter:
                continue


def beginning(
    name: str, store: ModelStore, base_sha256: str, schema: str, rank: int
) -> Adapter | None:
    """Return the adapter from which a new one may begin to learn.

    What one schema taught about reports and questions serves the next.

    Args:
        name: ``none``; ``auto``: of this schema, or else the one that has read most, where there
            is one; or its name.
        store: its adapters come before those that ship.
        base_sha256, rank: of the new one; those of the old one are the same.
        schema: name of the new one's.

    Raises:
        UnusableAdapter: the named one is not there, or is of another model or rank.
    """
    if name == NONE:
        return None
    found = [
        each
        for each in _candidates(name, store)
        if (each.description.base_sha256, each.description.rank) == (base_sha256, rank)
    ]
    if name != AUTO and not found:
        raise UnusableAdapter(f"no adapter named {name!r} of this model and this rank")
    return min(
        found,
        key=lambda each: (each.description.schema != schema, -_read(each.description.training)),
        default=None,
    )


def enter(store: ModelStore, adapter: Adapter) -> Path:
    """Copy an adapter into the store, in place of one of the same name; return its folder.

    Raises:
        Permanent: the name is not a plain one.
    """
    name = adapter.description.name
    if name in {AUTO, NONE} or not name.replace("-", "").replace("_", "").isalnum():
        raise Permanent(f"not usable as the name of an adapter: {name!r}")
    folder = store.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in (adapter.weights, adapter.weights.with_suffix(".json")):
        write_durably(folder / path.name, path.read_bytes())
    return folder


def _read(training: Mapping[str, Any]) -> int:
    """Return of how many reports an adapter learned, those that it began from included."""
    before = training.get("begun_from", {}).get("training", {})
    return int(training.get("reports", 0)) + (_read(before) if before else 0)


def _candidates(name: str, store: ModelStore) -> Iterator[Adapter]:
    for adapter in adapters(store):
        if name in {AUTO, adapter.description.name}:
            yield adapter


def _shipped() -> Path:
    return Path(str(resources.files("labeling") / "llm" / "adapters"))


def _fitting(adapter: Adapter, base_sha256: str, labeler: str, asked: Asked) -> Choice:
    told = adapter.description
    if told.base_sha256 != base_sha256:
        raise UnusableAdapter(f"adapter {told.name}: made for another model ({told.base})")
    kinds = [each for each in told.questions if each == labeler or each.startswith(f"{labeler}_")]
    if not kinds:
        raise UnusableAdapter(f"adapter {told.name}: did not learn what {labeler} asks")
    different: list[str] = []
    for kind in kinds:
        different = list(_different(told.questions[kind], asked(kind)))
        if not different:
            return Choice(adapter, kind)
    raise UnusableAdapter(
        f"adapter {told.name}: learned other questions than are asked ({', '.join(different)})"
    )


def _different(
    learned: Mapping[str, Mapping[str, str]], asked: Mapping[str, Mapping[str, str]]
) -> Sequence[str]:
    """Return the languages and observations of which it learned other questions, or none."""
    return [
        f"{language}: {observation}"
        for language, observations in asked.items()
        for observation, digest in observations.items()
        if learned.get(language, {}).get(observation) != digest
    ]
