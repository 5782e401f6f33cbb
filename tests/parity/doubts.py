"""SIMULATED chests whose training labels are made uncertain at a known rate, and their targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from labeling.vocabulary import State, UncertainPolicy
from plugin.simulation.chest_phantom import OBSERVATIONS, draw_chest
from tests.acceptance.rivals import Floats
from training.architectures.resnet50_multilabel import ResNet50MultiLabel
from training.learning.example import Example
from training.targets import target

_FOLDS = 5
_SHARPNESS = 4.0
"""How much likelier the hardest case is doubted than the easiest, in logarithms."""


@dataclass(frozen=True)
class Chests:
    """Pictures with their truth; ``hardness`` (pictures, observations) from 0, the easiest, to 1.

    It is what logistic regression on fixed features, learned from other pictures, gives to the
    wrong answer; of tested pictures, which nobody doubts, it is 0.
    """

    examples: Sequence[Example]
    hardness: Floats

    @property
    def truth(self) -> Floats:
        """(pictures, observations), 1.0 where the finding is there."""
        return np.asarray([[each.presence[o] for o in OBSERVATIONS] for each in self.examples])


def draw_chests(patients: int, tested: int, pixels: int) -> Chests:
    """Draw the pictures to learn from, and behind them those to test on."""
    examples = []
    for patient in range(patients + tested):
        truth, picture = draw_chest(np.random.default_rng([815, patient]))
        given = torch.from_numpy(picture)[None, None].float()
        small = functional.interpolate(given, (pixels, pixels), mode="area")[0].numpy()
        fold = "train" if patient < patients else "test"
        presence = {name: float(truth.present(name)) for name in OBSERVATIONS}
        examples.append(Example(str(patient), str(patient), fold, small, presence))
    return Chests(examples, _hardness(examples, ResNet50MultiLabel((1, pixels, pixels))))


def _hardness(examples: Sequence[Example], architecture: ResNet50MultiLabel) -> Floats:
    learned = np.asarray([each.fold == "train" for each in examples])
    own = [each for each in examples if each.fold == "train"]
    features = architecture.features(own).double().numpy()
    hardness = np.zeros((len(examples), len(OBSERVATIONS)))
    for column, name in enumerate(OBSERVATIONS):
        truth = np.asarray([each.presence[name] for each in own])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
        said = cross_val_predict(model, features, truth, cv=_FOLDS, method="predict_proba")[:, 1]
        hardness[learned, column] = np.abs(truth - said)
    return hardness


def doubted(chests: Chests, rate: float, present: float, seed: int) -> Any:
    """Return which training labels are uncertain: (pictures, observations), True where so.

    Args:
        chests: the pictures.
        rate: share of the training labels of each observation.
        present: share of the uncertain ones that truly are findings, as far as there are as many.
        seed: of the draw; a higher rate doubts what a lower one doubts, and more.
    """
    found = np.zeros(chests.truth.shape, dtype=bool)
    learned = np.asarray([each.fold == "train" for each in chests.examples])
    for column in range(len(OBSERVATIONS)):
        truth = chests.truth[:, column]
        wanted = rate * learned.sum()
        rng = np.random.default_rng([seed, 77, column])
        # Gumbel's trick: the largest are a draw without repetition by these weights.
        weights = _SHARPNESS * chests.hardness[:, column] + rng.gumbel(size=len(truth))
        for value, share in ((1.0, present), (0.0, 1 - present)):
            rows = np.flatnonzero(learned & (truth == value))
            some = min(round(wanted * share), len(rows))
            found[rows[np.argsort(-weights[rows])[:some]], column] = True
    return found


def labelled(chests: Chests, uncertain: Any, policy: UncertainPolicy) -> list[Example]:
    """Return the examples with targets under a policy.

    The probability of an uncertain label is the share of findings among those of its observation:
    a calibrated labeler that cannot tell them apart.
    """
    truth = chests.truth
    shares = [
        float(truth[uncertain[:, column], column].mean()) if uncertain[:, column].any() else None
        for column in range(len(OBSERVATIONS))
    ]
    examples = []
    for row, each in enumerate(chests.examples):
        presence = {}
        for column, name in enumerate(OBSERVATIONS):
            state = State.PRESENT if truth[row, column] else State.ABSENT
            said = State.UNCERTAIN if uncertain[row, column] else state
            given = target(said, policy, shares[column])
            presence[name] = math.nan if given is None else given
        examples.append(replace(each, presence=presence))
    return examples


def about(chests: Chests, rate: float, present: float) -> dict[str, float]:
    """Return what was injected at a rate: shares of all labels, and how hard the cases are."""
    found = doubted(chests, rate, present, 0)
    learned = np.asarray([each.fold == "train" for each in chests.examples])
    return {
        "share": round(float(found[learned].mean()), 3),
        "truly_present": round(float(chests.truth[found].mean()), 3) if found.any() else 0.0,
        "hardness": round(float(chests.hardness[found].mean()), 2) if found.any() else 0.0,
        "hardness_of_the_rest": round(float(chests.hardness[learned][~found[learned]].mean()), 2),
    }
