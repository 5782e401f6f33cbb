"""A language model is adapted: the job, the child that learns, and where the adapter goes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labeling.settings import LabelingSettings
from plugin.child import ChildProcess
from plugin.context import Progress
from plugin.errors import Permanent
from plugin.locks import take

_TYPED = ("minutes", "steps", "seed", "rank", "rate")
"""The options of ``labeling.adaptation.training.Options`` that the command line has."""


@dataclass(frozen=True)
class AdaptationJob:
    """What is adapted to what, and where the results go.

    Args:
        name: of the adapter; empty: as the schema.
        folder: takes log, checkpoint, figures, curve and adapter.
        settings: of labeling; they name schema and base model.
        model_store: holds the base model, and gets the adapter.
        wording: a wording file of the schema; None: one that ships, or none.
        options: of ``labeling.adaptation.training.Options``.
        tree: share of the reports about which the questions of ``tree`` are learned.
        begin: name of the adapter to begin from, ``auto`` or ``none``.
    """

    name: str
    folder: Path
    settings: LabelingSettings
    model_store: Path
    wording: Path | None
    options: dict[str, Any]
    tree: float
    begin: str

    @property
    def command(self) -> str:
        """The command for the record, as it can be typed again, without any folder.

        An adapter may be given away, and folders may bear names that are nobody's business. What
        the command leaves to defaults, the record's ``options`` tell.
        """
        schema = Path(self.settings.schema_file or self.settings.schema_name).name
        told: dict[str, Any] = {"schema": schema, "base": self.settings.language_model.name}
        told |= {name: self.options[name] for name in _TYPED if name in self.options}
        told |= {"tree": self.tree, "begin": self.begin}
        if self.wording is not None:
            told["wording"] = self.wording.name
        typed = (f"--{name}={value}" for name, value in told.items())
        return shlex.join(["radloop", "llm", "adapt", *typed])

    def as_row(self) -> dict[str, Any]:
        """Return the job as values of JSON for the pipe to a child."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "settings": self.settings.for_child(),
            "model_store": str(self.model_store),
            "wording": str(self.wording or ""),
            "options": self.options,
            "tree": self.tree,
            "begin": self.begin,
            "command": self.command,
        }


def adapt(job: AdaptationJob, progress: Progress) -> dict[str, Any]:
    """Adapt a model in a child process; return the adapter's name, digest, figures and memory.

    The adapter enters the model store, where labelers find it by themselves.

    Raises:
        Permanent: the settings name a server or llama.cpp, the model cannot be adapted, or the
            folder holds another training, which may be running.
        ChildFailed: the child ended before it was done; the same job goes on from its checkpoint.
    """
    model = job.settings.language_model
    if model.backend != "transformers":
        raise Permanent(f"a model behind {model.backend} cannot be adapted; use transformers")
    job.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(job.folder), ChildProcess(job.folder / "training.log", model.threads) as child:
        (result,) = child.run("adapt", job.as_row(), progress)
        (peak,) = child.run("peak_memory", {}, progress)
    return {**result, "peak_memory_mb": peak // 2**20, "folder": str(job.folder)}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone: two trainings would take each other's checkpoints."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    refused = Permanent(
        f"another `radloop llm adapt` is learning in {folder}; wait for it, or give "
        "another --name or --output"
    )
    try:
        take(descriptor, refused)
        yield
    finally:
        os.close(descriptor)


def learn(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Adapt a model here; runs inside the child."""
    from labeling.adaptation.adapting import Task, adapt_model
    from labeling.adaptation.training import Options
    from labeling.language import load_languages
    from labeling.llm.adapter_choice import beginning, enter
    from labeling.llm.model_store import ModelStore
    from labeling.llm.opening import stored_model
    from labeling.schema_file import schema_of

    settings = LabelingSettings.model_validate(job["settings"])
    schema, store = schema_of(settings), ModelStore(Path(job["model_store"]))
    base = stored_model(settings.language_model, store)
    options = Options(**job["options"])
    task = Task(
        name=job["name"] or schema.name,
        schema=schema,
        base=base,
        languages=load_languages([Path(each) for each in settings.language_packs]),
        settings=settings,
        wording=Path(job["wording"]) if job["wording"] else None,
        command=job["command"],
        tree=job["tree"],
        begun_from=beginning(job["begin"], store, base.sha256, schema.name, options.rank),
    )
    adapter = adapt_model(task, Path(job["folder"]), options, progress)
    enter(store, adapter)
    told = adapter.description
    return {
        "adapter": told.name,
        "base": told.base,
        "digest": told.digest,
        "size_mb": round(adapter.weights.stat().st_size / 2**20, 2),
        **{name: told.training[name] for name in ("steps", "reports", "seconds")},
        "generated_test_phrasings": told.figures["mean"],
        "figures": told.figures["observations"],
    }
