"""From labelled reports to a student on disk: part by patient, train, judge, write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from labeling.language import Languages
from labeling.llm.model_store import StoredModel
from labeling.settings import LabelingSettings
from labeling.student.encoder import Encoder
from labeling.student.examples import Example, parted
from labeling.student.training import (
    CannotTrain,
    Corpus,
    Prepared,
    Progress,
    Trained,
    TrainingOptions,
    predict,
    train,
)
from labeling.student.weights_file import StudentConfig, write_student
from labeling.vocabulary import LabelSchema

VALIDATION_SHARE = 0.15


def distil(
    examples: Sequence[Example],
    schema: LabelSchema,
    stored: StoredModel,
    folder: Path,
    options: TrainingOptions,
    *,
    languages: Languages,
    settings: LabelingSettings,
    validation_share: float = VALIDATION_SHARE,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Train a student on examples and write it into ``folder``.

    Args:
        examples: reports and what is known of their labels.
        schema: its observations and sites are what the student learns.
        stored: the encoder.
        folder: gets the two files of ``weights_file``.
        options: of the training.
        languages, settings: say what of a report may label.
        validation_share: of the patients, kept apart for the choice of the epoch and the figures.
        provenance: what the caller knows of the sources; it is written down with the figures.
        progress: takes a line now and then.

    Returns:
        ``digest``, ``learned_from``, ``validated_on``, ``best_epoch`` and ``figures``: by
        observation, whole and at its sites, positives, labels and AUROC on the validation share.

    Raises:
        CannotTrain: too few readable reports, or the encoder lacks a layer.
        UnusableEncoder: the encoder cannot be loaded.
    """
    # Layers that learn need the finer numbers; the others are read as the labeler will read them.
    encoder = Encoder.load(
        stored.path,
        threads=settings.language_model.threads,
        dtype="float32" if options.tuned_layers else "auto",
    )
    options = replace(options, layers=_layers(options.layers, encoder))
    learn, validate = parted(examples, validation_share, options.seed)
    corpus = Corpus(schema, encoder)
    progress(f"reading {len(examples)} reports")
    prepared = corpus.prepare(learn, languages, settings)
    judged = corpus.prepare(validate, languages, settings)
    progress(f"{len(corpus.tokens)} different sentences")
    trained = train(corpus, prepared, judged, encoder, options, progress)
    figures = validation_figures(trained, corpus, judged, encoder, options)
    counts = {
        "learned_from": len(prepared),
        "validated_on": len(judged),
        "best_epoch": trained.best_epoch,
    }
    record = {
        **(provenance or {}),
        "options": asdict(options),
        "examples_digest": examples_digest(examples),
        **counts,
        "validation": figures,
    }
    config = _configuration(schema, stored, options, trained, record, examples, languages)
    written = write_student(folder, config, trained.weights)
    return {"digest": written.digest, **counts, "figures": figures}


def _layers(wanted: tuple[int, ...], encoder: Encoder) -> tuple[int, ...]:
    """Return the layers that are read: those wanted, or the middle one and the last."""
    if unknown := [each for each in wanted if not -encoder.layers <= each <= encoder.layers]:
        raise CannotTrain(f"the encoder has {encoder.layers} layers, none numbered {unknown[0]}")
    return wanted or (encoder.layers // 2, -1)


def _configuration(
    schema: LabelSchema,
    stored: StoredModel,
    options: TrainingOptions,
    trained: Trained,
    record: Mapping[str, Any],
    examples: Sequence[Example],
    languages: Languages,
) -> StudentConfig:
    packs = (languages.pack_of(each.text) for each in examples)
    return StudentConfig(
        schema=schema.name,
        observations=tuple(each.id for each in schema.observations),
        sites=tuple(each.id for each in schema.sites),
        encoder=stored.name,
        encoder_sha256=stored.sha256,
        layers=options.layers,
        sizes=trained.sizes.as_row(),
        provenance=record,
        languages=tuple(sorted({each.code for each in packs if each is not None})),
    )


def validation_figures(
    trained: Trained,
    corpus: Corpus,
    judged: Sequence[Prepared],
    encoder: Encoder,
    options: TrainingOptions,
) -> dict[str, dict[str, Any]]:
    """Return AUROC of present against the rest on the validation share, whole and at sites.

    They say how well the student reads reports like those it learned from, no more.
    """
    margins = predict(trained, corpus, judged, encoder, replace(options, tuned_layers=0))
    allowed = np.stack([each.allowed.numpy() for each in judged])
    figures: dict[str, dict[str, Any]] = {}
    for row, observation in enumerate(corpus.schema.observations):
        for kind, part in (("whole", slice(0, 1)), ("sites", slice(1, None))):
            known = ~allowed[:, row, part].all(-1)
            present = allowed[:, row, part, 0][known]
            if len(present):
                found = figures.setdefault(observation.id, {})
                found[kind] = _figures(present, margins[:, row, part][known])
    return figures


def _figures(present: npt.NDArray[np.bool_], margins: npt.NDArray[np.float64]) -> dict[str, Any]:
    both = 0 < int(present.sum()) < len(present)
    auroc = round(float(roc_auc_score(present, margins)), 4) if both else None
    return {"labels": len(present), "positives": int(present.sum()), "auroc": auroc}


def examples_digest(examples: Sequence[Example]) -> str:
    """Return SHA-256 over the examples, in their order."""
    digest = hashlib.sha256()
    for each in examples:
        allowed = {" ".join(k): sorted(map(str, v)) for k, v in each.allowed.items()}
        evidence = {" ".join(k): v for k, v in each.evidence.items()}
        row = [each.patient, each.text, allowed, evidence]
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
