"""From a schema and a language model to an adapter on disk: generate, learn, judge, write."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from labeling.adaptation.checkpoint import Position
from labeling.adaptation.drawing import draw_curve
from labeling.adaptation.excerpts import Texts
from labeling.adaptation.interference import Interference
from labeling.adaptation.lessons import Course, Truth, token_scores, tree
from labeling.adaptation.low_rank import adapt, begin_from, parameters
from labeling.adaptation.rows import Rows
from labeling.adaptation.training import Options, Progress, Reports, Training, job_digest
from labeling.errors import Permanent
from labeling.language import ENGLISH, Languages
from labeling.llm.adapter_file import Adapter, Description, matrices, write_adapter
from labeling.llm.attention import attend_plainly
from labeling.llm.chat import ChatFormat
from labeling.llm.model_store import StoredModel
from labeling.llm.network import Network, load, precision
from labeling.schema_file import schema_of
from labeling.settings import LabelingSettings
from labeling.synthesis.generated import GeneratedReport, Split
from labeling.synthesis.generator import generate
from labeling.synthesis.wording_file import load_wording
from labeling.vocabulary import LabelSchema

WITHOUT_END = 10**9
_JUDGED_SEED = 1_000_003
LEARNED = "token_scores_learned"
_TREE = "tree"


@dataclass(frozen=True)
class Task:
    """What is to be adapted to what.

    Args:
        name: of the adapter.
        schema: what it learns to read.
        base: the model.
        languages, settings: say what of a report may label; settings name threads and dtype.
        wording: a wording file for the generator, in place of one that ships.
        command: which makes it, for the record.
        tree: share of the reports about which the questions of the labeler ``tree`` are learned.
        begun_from: an adapter of the same model and rank whose matrices are learned further.
    """

    name: str
    schema: LabelSchema
    base: StoredModel
    languages: Languages
    settings: LabelingSettings
    wording: Path | None = None
    command: str = ""
    tree: float = 0.0
    begun_from: Adapter | None = None


def adapt_model(
    task: Task,
    folder: Path,
    options: Options,
    progress: Progress,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Adapter:
    """Adapt a model to what the labelers ask of a schema; return the adapter, written to disk.

    Args:
        task: what is adapted to what.
        folder: exists; gets the two files of the adapter, ``curve.png`` and ``figures.json``. A
            training that was stopped goes on from the checkpoint in it.
        options: of the training.
        progress: takes a line after each step.
        clock: seconds that only grow.

    Raises:
        UnusableLanguageModel: the model cannot be loaded, or cannot be adapted.
        UnusableCheckpoint: the folder holds a checkpoint of another training.
        InvalidWording: there is no wording for the schema's language, or it cannot be used.
    """
    torch.set_num_threads(task.settings.language_model.threads)
    torch.manual_seed(options.seed)
    if task.begun_from is not None:
        # What short reports teach first, it knows.
        options = replace(options, scale=task.begun_from.description.scale, short=0.0)
    network, chat = _loaded(task, options)
    names = [name for each in task.schema.observations for name in (each.name, *each.synonyms)]
    texts = Texts(task.languages, task.settings, chat.markers, Interference(names))
    training = Training(
        network,
        Rows(chat, network.longest),
        _courses(task),
        texts,
        _reports(task, options.seed),
        _judged(task, texts, options.final_reports),
        options,
        clock=clock,
    )
    checkpoint = folder / "checkpoint.safetensors"
    training.run(checkpoint, job_digest(options, _identity(task)), progress)
    progress(f"judging by {len(training.judged)} reports in test phrasings")
    description = _description(task, training)
    _draw(description, training.position, folder)
    learned = {name: each.detach() for name, each in parameters(network.model).items()}
    written = write_adapter(folder, description, learned)
    checkpoint.unlink(missing_ok=True)
    return written


def _identity(task: Task) -> object:
    """Return what tells this training from another with the same options."""
    begun = "" if task.begun_from is None else task.begun_from.description.digest
    wording = load_wording(_whole_schema(task), ENGLISH, task.wording).digest
    return [begun, task.base.sha256, task.schema.digest, _questions(task), task.tree, wording]


def _description(task: Task, training: Training) -> Description:
    position, options = training.position, training.options
    figures = {"split": "test", **training.figures(training.judged)}
    band = figures.pop("band")
    begun = task.begun_from
    record = {
        "options": asdict(options),
        "steps": position.step,
        "reports": position.report,
        "seconds": round(position.seconds),
        "tree": task.tree,
        "begun_from": {} if begun is None else _record(begun.description),
        "command": task.command,
        "torch": metadata.version("torch"),
    }
    return Description(
        name=task.name,
        base=task.base.name,
        base_sha256=task.base.sha256,
        schema=task.schema.name,
        schema_digest=task.schema.digest,
        questions=_questions(task),
        rank=options.rank,
        scale=options.scale,
        weights_sha256="",
        data_digest=position.digest,
        figures={**figures, "on_the_way": position.judged},
        training=record,
        band=band,
    )


def _record(begun: Description) -> dict[str, Any]:
    """Return how the adapter that was learned on from was made."""
    return {
        "name": begun.name,
        "digest": begun.digest,
        "data_digest": begun.data_digest,
        "training": begun.training,
    }


def _draw(description: Description, position: Position, folder: Path) -> None:
    """Write the learning curve and what it was drawn from."""
    title = f"{description.schema} on {description.base}"
    draw_curve(position, folder / "curve.png", title)
    told = {
        "title": title,
        **description.training,
        "losses": position.losses,
        "figures": description.figures,
    }
    (folder / "figures.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _loaded(task: Task, options: Options) -> tuple[Network, ChatFormat]:
    """Return the model, ready to learn, on the device and in the numbers that are fastest."""
    model, tokenizer = load(task.base.path, "float32")
    if torch.cuda.is_available():
        model = model.to("cuda")
    network = Network(model)
    if not network.packs:
        raise Permanent(f"the model {task.base.name} cannot read questions side by side")
    adapt(model, options.rank, options.scale, precision("auto"))
    if task.begun_from is not None:
        begin_from(model, matrices(task.begun_from))
    attend_plainly(model)
    return network, ChatFormat(tokenizer)


def _courses(task: Task) -> list[tuple[Course, float]]:
    pack = task.languages.packs[ENGLISH]
    courses = [(token_scores(task.schema, pack, LEARNED), 1.0 - task.tree)]
    return [*courses, (tree(task.schema, pack, _TREE), task.tree)] if task.tree else courses


def _questions(task: Task) -> dict[str, dict[str, dict[str, str]]]:
    """Return by kind of words, language and observation the digest of what is learned."""
    names = [each.id for each in task.schema.observations]
    return {
        course.kind: {ENGLISH: {name: course.words.digest(name) for name in names}}
        for course, _ in _courses(task)
    }


def _whole_schema(task: Task) -> LabelSchema:
    """Return the schema before it was narrowed: wording is of whole schemas."""
    return schema_of(task.settings.model_copy(update={"observations": ()}))


def generated(task: Task, seed: int, split: Split) -> Iterator[GeneratedReport]:
    """Yield reports without end, with what they say of what a model is asked about."""
    # Of a narrowed schema, what nobody asks about is taken out again.
    whole = _whole_schema(task)
    asked = {each.id: each.alone for each in task.schema.observations}
    for report in generate(whole, WITHOUT_END, seed=seed, split=split, wording=task.wording):
        states = {
            place: report.own.get(place, state) if asked[place[0]] else state
            for place, state in report.states.items()
            if place[0] in asked
        }
        yield replace(report, states=states)


def _reports(task: Task, seed: int) -> Reports:
    return lambda start: itertools.islice(generated(task, seed, "train"), start, None)


def _judged(task: Task, texts: Texts, count: int) -> list[Truth]:
    found: list[Truth] = []
    for report in itertools.islice(generated(task, _JUDGED_SEED, "test"), 2 * count):
        if len(found) < count and (read := texts.readable(report)) is not None:
            found.append(texts.whole(report, read))
    return found
