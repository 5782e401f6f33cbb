"""Where a margin becomes a state: one threshold and one band per observation.

Margins of different observations do not share a zero: published thresholds for one model and one
prompt run from 1e-6 to 0.99998 as probabilities (Park et al., MICCAI 2024). So thresholds are
fitted on reference labels. Without them the threshold is 0, which says nothing about accuracy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from labeling.errors import Permanent
from labeling.vocabulary import State

DEFAULT_BAND = 0.25
"""Half the width of the uncertain band, in logits, where nothing was fitted."""

_MINIMUM_EACH = 3


class InvalidThresholds(Permanent):
    """Stored thresholds cannot be read."""


@dataclass(frozen=True)
class Threshold:
    """Margins above ``cut + band`` mean present, below ``cut - band`` no, between: uncertain."""

    cut: float = 0.0
    band: float = DEFAULT_BAND
    fitted_on: int = 0  # reports; 0: not fitted

    def decide(self, margin: float) -> State:
        """Return PRESENT, UNCERTAIN or ABSENT for a margin."""
        if margin > self.cut + self.band:
            return State.PRESENT
        return State.UNCERTAIN if margin >= self.cut - self.band else State.ABSENT


@dataclass(frozen=True)
class Thresholds:
    """Thresholds by observation; an observation without one has the default."""

    by_observation: Mapping[str, Threshold]

    def of(self, observation: str) -> Threshold:
        """Return the threshold of an observation."""
        return self.by_observation.get(observation, Threshold())

    @property
    def digest(self) -> str:
        """SHA-256 of the thresholds; empty where none was fitted."""
        return hashlib.sha256(self.to_json().encode()).hexdigest() if self.by_observation else ""

    def to_json(self) -> str:
        """Return the thresholds as JSON."""
        content = {name: asdict(each) for name, each in sorted(self.by_observation.items())}
        return json.dumps(content, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Thresholds:
        """Return thresholds from what ``to_json`` wrote.

        Raises:
            InvalidThresholds: the text is something else.
        """
        try:
            content = json.loads(text)
            return cls({str(name): Threshold(**each) for name, each in content.items()})
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidThresholds("not thresholds as this version writes them") from error


UNCALIBRATED = Thresholds({})
"""Cut 0 for everything: usable to see the machinery work, not to believe a label."""


def fit_thresholds(
    margins: Mapping[str, Sequence[float]], references: Mapping[str, Sequence[State]]
) -> Thresholds:
    """Fit a cut per observation: the greatest balanced accuracy of present against the rest.

    Reference labels that are uncertain or failed are left out. Among equally good cuts the middle
    of the widest gap is taken. An observation with fewer than three positives or three negatives
    keeps the default. The band stays 0: how wide "uncertain" should be cannot be told from a few
    labels. Use reference labels of training patients only.

    Args:
        margins: by observation, one margin a report.
        references: by observation, what a reader says of the same reports, in the same order.
    """
    fitted: dict[str, Threshold] = {}
    for observation, values in margins.items():
        pairs = [
            (margin, state is State.PRESENT)
            for margin, state in zip(values, references[observation], strict=True)
            if state not in {State.UNCERTAIN, State.FAILED}
        ]
        positives = sum(present for _, present in pairs)
        if min(positives, len(pairs) - positives) >= _MINIMUM_EACH:
            fitted[observation] = Threshold(_best_cut(pairs), 0.0, len(pairs))
    return Thresholds(fitted)


def _best_cut(pairs: Sequence[tuple[float, bool]]) -> float:
    margins = np.array([margin for margin, _ in pairs])
    present = np.array([label for _, label in pairs])
    values = np.unique(margins)
    cuts = np.concatenate([[values[0] - 1.0], (values[:-1] + values[1:]) / 2, [values[-1] + 1.0]])
    gaps = np.concatenate([[0.0], np.diff(values), [0.0]])
    above = margins[None, :] > cuts[:, None]  # [cuts, reports]
    sensitivity = above[:, present].mean(axis=1)
    specificity = (~above[:, ~present]).mean(axis=1)
    balanced = sensitivity + specificity
    best = np.isclose(balanced, balanced.max())
    return float(cuts[np.flatnonzero(best)[np.argmax(gaps[best])]])
