"""From the files of a cohort to an evaluated network, in one call that knows no database.

Runs in a child process: images are decoded here. Everything that comes back is JSON-ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.architectures import registry
from training.architectures.protocol import Architecture
from training.discs import DISC_CHAIN
from training.domain.domain import Domain, learn_domain
from training.errors import Permanent
from training.learning.baseline import NAME, Baseline, linear_baseline
from training.learning.cache import InputCache
from training.learning.checkpoint import UnusableCheckpoint
from training.learning.distributed import ALONE, Group
from training.learning.estimate import (
    available_bytes,
    duration_of,
    memory_of,
    refuse_too_large,
    refuse_too_small,
)
from training.learning.example import Example
from training.learning.identity import job_of
from training.learning.loop import Learned, Progress, learn
from training.learning.members import Examples, examples_of
from training.learning.options import Options
from training.learning.predicting import Floats, logits_of, probabilities_of
from training.learning.preparing import form_of
from training.learning.targets import (
    counts,
    heads_for,
    locations_learned,
    presence_matrix,
    steps_learned,
)
from training.localiser import DiscLocaliser
from training.metrics import evaluate, operating_points
from training.samples import hard
from training.settings import TrainingSettings


@dataclass(frozen=True)
class Trained:
    """A network, the record of its training for JSON, and how its inputs were prepared.

    ``domain`` is what its inputs were like.
    """

    learned: Learned
    record: dict[str, Any]
    input_shape: tuple[int, ...]
    preparation: str
    domain: Domain | None = None


def architecture_of(name: str, settings: TrainingSettings) -> Architecture:
    """Return the architecture as the settings size it and let it begin."""
    learning = settings.learning
    weights = Path(learning.weights) if learning.weights else None
    return registry.load(name, learning.input_shape, weights)


def options_of(settings: TrainingSettings) -> Options:
    """Return the options of a training that the settings describe."""
    learning = settings.learning
    return Options(
        seed=settings.seed,
        epochs=settings.maximum_epochs,
        patience=settings.patience,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        clip=learning.clip,
        most_positive_weight=learning.most_positive_weight,
        threads=settings.threads,
        workers=learning.workers,
        mixed_precision=learning.mixed_precision,
        device=learning.device,
    )


def train_architecture(
    architecture: Architecture,
    members: Sequence[Mapping[str, Any]],
    observations: Sequence[str],
    sites: Sequence[str],
    settings: TrainingSettings,
    folders: tuple[Path, Path],
    progress: Progress,
    *,
    group: Group = ALONE,
    localiser: DiscLocaliser = DISC_CHAIN,
) -> Trained:
    """Train on a cohort and evaluate on its test fold against human reference labels.

    An interrupted training of the same cohort and settings goes on from its checkpoint, which is
    removed at the end.

    Args:
        architecture: what learns.
        members: study_instance_uid, patient_key, fold, targets by observation and site, files, and
            digests of the files.
        observations: what to train; one with too few positives or negatives is left out, with the
            numbers.
        sites: of the schema.
        settings: of the training.
        folders: of the cache and of the checkpoints.
        progress: told one line at a time.
        group: the processes that learn together.
        localiser: what finds the discs of inputs that are cut at discs.

    Returns:
        The network; ``record`` holds ``thresholds``, ``curve``, ``test`` (see
        ``metrics.evaluate``, the baseline beside it), ``not_used`` and ``not_trained`` (with
        reasons), ``counts``, ``architecture``, ``baseline``, ``estimate``, ``cache``, ``domain``.

    Raises:
        Permanent: nothing can be trained, or it would not fit into memory; with the numbers.
    """
    cache = InputCache(folders[0], settings.learning.cache_bytes)
    if settings.batch_size < max(2, group.size):
        raise Permanent(
            "[training] batch_size is too small: a step needs two examples, and one a process"
        )
    # Figures of their own: the record's are those of inputs.
    overviews = InputCache(folders[0], settings.learning.cache_bytes)
    given = examples_of(members, architecture, sites, cache, progress, localiser, overviews)
    domain = learn_domain(given.looks)
    trained, not_trained = refuse_too_small(
        given.examples, observations, settings.learning.least_of_a_class
    )
    learned, estimate = _learned(
        architecture, given.examples, trained, settings, folders[1], cache, progress, group
    )
    progress("evaluating on held-out patients")
    device = group.device(settings.learning.device)
    probabilities = held_out_probabilities(architecture, learned, given.examples, device)
    baseline = linear_baseline(architecture, given.examples, trained, settings.seed)
    thresholds = thresholds_of(given.examples, trained, probabilities)
    form = form_of(architecture.kind, architecture.input_shape, sites, localiser)
    record = {
        "thresholds": thresholds,
        "curve": [asdict(each) for each in learned.curve],
        "test": _test(given.examples, trained, probabilities, baseline, thresholds, settings),
        "not_used": list(given.not_used),
        "not_trained": not_trained,
        "counts": _counts(given),
        "targets": counts(given.examples, trained),
        "heads": asdict(learned.heads),
        "architecture": _about(architecture, form),
        "baseline": {"name": NAME, **_figures(baseline)},
        "estimate": estimate,
        "cache": asdict(cache.figures),
        "best_epoch": learned.best_epoch,
        "precision": learned.precision,
        "domain": dict(domain.record),
    }
    return Trained(learned, record, tuple(architecture.input_shape), form, domain)


def _learned(
    architecture: Architecture,
    examples: Sequence[Example],
    trained: Sequence[str],
    settings: TrainingSettings,
    folder: Path,
    cache: InputCache,
    progress: Progress,
    group: Group,
) -> tuple[Learned, dict[str, Any]]:
    """Estimate, refuse what does not fit, and learn."""
    options = options_of(settings)
    heads = heads_for(
        examples,
        trained,
        most_weight=options.most_positive_weight,
        locations=locations_learned(examples, trained),
        severities=steps_learned(examples, trained),
        weights={str(k): v for k, v in settings.learning.head_weights.items()},
    )
    memory = memory_of(architecture, examples, heads, options)
    device = group.device(options.device)
    shared = 1 if device.type == "cuda" else group.size  # one memory for all processes
    available = settings.learning.memory_bytes or available_bytes(device) // shared
    refuse_too_large(memory, available, 0 if device.type == "cuda" else cache.figures.held_bytes)
    duration = duration_of(architecture, examples, heads, options, group)
    progress(
        f"{memory.parameters} parameters, {memory.total / 2**20:.0f} MiB, at most "
        f"{duration.whole / 60:.1f} min"
    )
    estimate: dict[str, Any] = {
        "memory": {**asdict(memory), "total": memory.total, "available": available},
        "duration": asdict(duration),
    }
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    job = job_of(architecture, examples, heads, options, group)
    # Named by data and options: another training does not meet it, and a change of the program is
    # told from a change of the question.
    checkpoint = folder / f"{job.data[:16]}-{job.options[:16]}.safetensors"
    learned = _resumed(architecture, examples, heads, options, checkpoint, progress, group)
    if group.leads:
        checkpoint.unlink(missing_ok=True)
    estimate["seconds"] = learned.seconds
    return learned, estimate


def _resumed(
    architecture: Architecture,
    examples: Sequence[Example],
    heads: Any,
    options: Options,
    checkpoint: Path,
    progress: Progress,
    group: Group,
) -> Learned:
    try:
        return learn(
            architecture,
            examples,
            heads,
            options,
            checkpoint=checkpoint,
            group=group,
            progress=progress,
        )
    except UnusableCheckpoint as error:
        raise UnusableCheckpoint(f"{error} (it lies in {checkpoint.parent.name})") from error


def held_out_probabilities(
    architecture: Architecture,
    learned: Learned,
    examples: Sequence[Example],
    device: torch.device | str = "cpu",
) -> Floats:
    """Return the probabilities (examples, observations) of a network, NaN for the fold "train"."""
    network = architecture.build(learned.heads)
    network.load_state_dict(learned.state)
    rows = [row for row, each in enumerate(examples) if each.fold != "train"]
    held_out = [examples[row] for row in rows]
    logits = logits_of(architecture, network.to(device), held_out, learned.heads, device=device)
    found = np.full((len(examples), len(learned.heads.observations)), np.nan)
    found[rows] = probabilities_of(logits, learned.offsets, learned.temperature)
    return found


def thresholds_of(
    examples: Sequence[Example], observations: Sequence[str], probabilities: Floats
) -> dict[str, float | None]:
    """Return the operating points that the validation fold gives."""
    rows, targets = _fold(examples, "validation", observations)
    points = operating_points(
        {name: targets[:, i] for i, name in enumerate(observations)},
        {name: probabilities[rows, i] for i, name in enumerate(observations)},
    )
    return {name: point.threshold for name, point in points.items()}


def _test(
    examples: Sequence[Example],
    observations: Sequence[str],
    probabilities: Floats,
    baseline: Baseline,
    thresholds: Mapping[str, float | None],
    settings: TrainingSettings,
) -> dict[str, Any]:
    rows, targets = _fold(examples, "test", observations)
    columns = list(enumerate(observations))
    return evaluate(
        {name: targets[:, i] for i, name in columns},
        {name: probabilities[rows, i] for i, name in columns},
        [examples[row].patient_key for row in rows],
        thresholds,
        samples=settings.bootstrap_samples,
        seed=settings.seed,
        baselines={NAME: {name: baseline.probabilities[rows, i] for i, name in columns}},
    )


def _fold(
    examples: Sequence[Example], fold: str, observations: Sequence[str]
) -> tuple[list[int], Floats]:
    rows = [row for row, each in enumerate(examples) if each.fold == fold]
    return rows, hard(presence_matrix([examples[row] for row in rows], observations))


def _counts(given: Examples) -> dict[str, int]:
    folds = np.asarray([each.fold for each in given.examples])
    return {fold: int((folds == fold).sum()) for fold in ("train", "validation", "test")}


def _about(architecture: Architecture, form: str) -> dict[str, Any]:
    return {
        "name": architecture.name,
        "kind": str(architecture.kind),
        "input_shape": list(architecture.input_shape),
        "preparation": form,
        "weights_digest": getattr(architecture, "weights_digest", ""),
    }


def _figures(baseline: Baseline) -> dict[str, Any]:
    return {"features": baseline.features, "strengths": baseline.strengths}
