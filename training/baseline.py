"""What a classifier must beat: logistic regression on the pixels of the same crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.samples import DiscSample, hard, target_matrix

_REGULARISATION = 0.01  # inverse strength; nine thousand pixels need a strong one


def logistic_baseline(
    samples: Sequence[DiscSample], observations: Sequence[str], seed: int
) -> NDArray[np.float64]:
    """Return probabilities (samples, observations) of logistic regression on the same pixels.

    One model for each observation, standardised pixels, fixed regularisation: what a network must
    beat to have learned anything. NaN where the training fold lacks a class. It learns nothing from
    targets that are probabilities.
    """
    crops = np.stack([s.crop for s in samples]).reshape(len(samples), -1)
    targets = hard(target_matrix(samples, observations))
    training = np.asarray([s.fold == "train" for s in samples])
    probabilities = np.full(targets.shape, np.nan)
    for i in range(targets.shape[1]):
        rows = training & ~np.isnan(targets[:, i])
        if len(set(targets[rows, i].tolist())) < 2:
            continue
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(
                C=_REGULARISATION, max_iter=300, class_weight="balanced", random_state=seed
            ),
        )
        model.fit(crops[rows], targets[rows, i])
        probabilities[:, i] = model.predict_proba(crops)[:, 1]
    return probabilities
