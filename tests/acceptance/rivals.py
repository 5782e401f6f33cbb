"""Two rankings of the same cases over several seeds: AUROC, and what one has ahead of the other.

A figure is the mean over the seeds. Its interval comes from a bootstrap that draws patients, the
same patients for every seed and for both rankings: seeds are no further patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labeling.evaluation.resampling import Bootstrap, auroc
from tests.acceptance.readings import table
from training.baseline import logistic_baseline
from training.learning.example import Example
from training.samples import DiscSample

Floats = NDArray[np.float64]
Scores = Mapping[str, Floats]
"""By name of a method: (seeds, cases, observations)."""


@dataclass(frozen=True)
class Figure:
    """A value and its 95 % interval by patient."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def signed(self) -> str:
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True)
class Trial:
    """Scores of several methods for the same cases; targets (cases, observations)."""

    observations: tuple[str, ...]
    targets: Floats
    patients: Sequence[str]
    scores: Scores
    resamples: int = 2000

    def auroc(self, method: str, observation: str) -> Figure:
        return self._figure(observation, lambda t, s, w: auroc(t, s[method], w))

    def ahead(self, method: str, rival: str, observation: str) -> Figure:
        return self._figure(
            observation, lambda t, s, w: auroc(t, s[method], w) - auroc(t, s[rival], w)
        )

    def _figure(
        self, observation: str, statistic: Callable[[Floats, Scores, Floats], Floats]
    ) -> Figure:
        column = self.observations.index(observation)
        known = ~np.isnan(self.targets[:, column])
        target = self.targets[known, column]
        numbers = np.unique(np.asarray(self.patients)[known], return_inverse=True)[1]
        seeds = len(next(iter(self.scores.values())))

        def mean(weights: Floats) -> Floats:
            of_seeds = []
            for seed in range(seeds):
                scores = {n: s[seed, known, column] for n, s in self.scores.items()}
                of_seeds.append(statistic(target, scores, weights))
            return np.mean(of_seeds, axis=0)

        value = float(mean(np.ones((1, target.size)))[0])
        drawn = np.concatenate(
            [mean(weights) for weights in Bootstrap(self.resamples, 0).weights(numbers)]
        )
        low, high = np.nanquantile(drawn, (0.025, 0.975))
        return Figure(value, float(low), float(high))


def lines_of(trial: Trial, first: str) -> Iterator[str]:
    """Yield a table: AUROC of each method, and what ``first`` has ahead of each of the others."""
    others = [name for name in trial.scores if name != first]
    header = ["observation", "positive", *trial.scores, *(f"ahead of {name}" for name in others)]
    rows = []
    for number, name in enumerate(trial.observations):
        target = trial.targets[:, number]
        rows.append(
            [
                name,
                f"{int(np.nansum(target))}/{int((~np.isnan(target)).sum())}",
                *(str(trial.auroc(method, name)) for method in trial.scores),
                *(trial.ahead(first, rival, name).signed() for rival in others),
            ]
        )
    yield from table(header, rows)


def json_of(trial: Trial, first: str) -> dict[str, Any]:
    """Return the figures of ``lines_of`` as values of JSON."""
    others = [name for name in trial.scores if name != first]
    return {
        name: {
            "auroc": {method: vars(trial.auroc(method, name)) for method in trial.scores},
            "ahead_of": {rival: vars(trial.ahead(first, rival, name)) for rival in others},
        }
        for name in trial.observations
    }


def logistic(
    examples: Sequence[Example], features: Floats, observations: Sequence[str], seed: int
) -> Floats:
    """Return what ``training.baseline`` says, trained on the fold "train", of every example.

    Args:
        features: (examples, features) in place of pixels.
    """
    samples = [
        DiscSample(e.study, e.patient_key, e.site, f, _hard(e, observations), e.fold)
        for e, f in zip(examples, features, strict=True)
    ]
    return logistic_baseline(samples, observations, seed)


def _hard(example: Example, observations: Sequence[str]) -> dict[str, float]:
    given = {name: example.presence.get(name, np.nan) for name in observations}
    return {n: v if np.isnan(v) else float(v >= 0.5) for n, v in given.items()}
