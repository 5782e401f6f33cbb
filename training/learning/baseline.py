"""What a network must beat: a standardised linear model on frozen features.

It stands beside every trained network. The features are the architecture's own
(``Architecture.features``), which nothing was taught; the strength of the regularisation is chosen
on the validation fold, observation by observation; the test fold is predicted and never fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from training.architectures.protocol import Architecture
from training.learning.example import Example
from training.learning.targets import presence_matrix
from training.samples import hard

NAME = "logistic regression on frozen features"

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of regularisation that are tried."""

_DEFAULT = 1e-2  # where validation cannot choose
_AT_ONCE = 64  # examples whose features are taken at once

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """The linear models' probabilities (examples, observations), NaN where none could be fitted.

    ``strengths`` holds the inverse strength that validation chose, by observation, None where
    nothing could be fitted; ``features`` is how many there are.
    """

    probabilities: Floats
    strengths: dict[str, float | None]
    features: int


def linear_baseline(
    architecture: Architecture, examples: Sequence[Example], observations: Sequence[str], seed: int
) -> Baseline:
    """Fit one logistic regression for each observation and predict every example.

    Args:
        architecture: gives the features.
        examples: of all folds; "train" fits, "validation" chooses.
        observations: in the order of the columns.
        seed: of the solver.
    """
    features = features_of(architecture, examples)
    targets = hard(presence_matrix(examples, observations))
    folds = np.asarray([each.fold for each in examples])
    probabilities = np.full(targets.shape, np.nan)
    strengths: dict[str, float | None] = {}
    for column, name in enumerate(observations):
        truth = targets[:, column]
        train, judged = ((folds == fold) & ~np.isnan(truth) for fold in ("train", "validation"))
        strengths[name] = None
        if len(set(truth[train].tolist())) < 2:
            continue
        strength, model = _chosen(features, truth, train, judged, seed)
        strengths[name] = strength
        probabilities[:, column] = model.predict_proba(features)[:, 1]
    return Baseline(probabilities, strengths, features.shape[1])


def features_of(architecture: Architecture, examples: Sequence[Example]) -> Floats:
    """Return frozen features (examples, features) of inputs as at evaluation."""
    parts = [
        architecture.features(examples[start : start + _AT_ONCE])
        for start in range(0, len(examples), _AT_ONCE)
    ]
    return np.asarray(torch.cat(parts).double().numpy())


def _chosen(
    features: Floats,
    truth: Floats,
    train: NDArray[np.bool_],
    judged: NDArray[np.bool_],
    seed: int,
) -> tuple[float, Pipeline]:
    """Return the strength with the least loss on validation, and the model fitted with it."""
    strengths = STRENGTHS if judged.any() else (_DEFAULT,)
    found = []
    for strength in strengths:
        model = _fitted(features[train], truth[train], strength, seed)
        loss = 0.0
        if judged.any():
            given = model.predict_proba(features[judged])[:, 1]
            loss = float(log_loss(truth[judged], given, labels=[0.0, 1.0]))
        found.append((loss, strength, model))
    _, strength, model = min(found, key=lambda each: each[:2])
    return strength, model


def _fitted(features: Floats, truth: Floats, strength: float, seed: int) -> Pipeline:
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=1000, random_state=seed)
    )
    model.fit(features, truth)
    return model
