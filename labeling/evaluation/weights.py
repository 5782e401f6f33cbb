"""Figures on a sample with unequal probabilities: weights, and a bootstrap that keeps the strata.

Each case counts by one over the probability with which it was drawn (Horvitz and Thompson, J Am
Stat Assoc 1952;47:663), so a figure estimates that of the frame and not that of the mixture that
was drawn. Intervals resample whole patients within strata: of a stratum with n patients n - 1 are
drawn, and weights rise by n / (n - 1) (Rao and Wu, J Am Stat Assoc 1988;83:231). The finite frame
is not taken off, so intervals are a little too wide where much of it was drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from labeling.evaluation.resampling import CELLS, Bootstrap, Floats, Integers


def unequal(weights: Iterable[float | None]) -> bool:
    """Tell whether cases were drawn with different probabilities, as far as these are known."""
    known = [each for each in weights if each is not None]
    return bool(known) and not np.allclose(known, known[0])


@dataclass(frozen=True)
class Design:
    """How cases were drawn.

    Args:
        weights: one over the probability of inclusion, a case each.
        strata: of which stratum each case is; patients are drawn within theirs.
    """

    weights: Floats
    strata: tuple[str, ...]

    @classmethod
    def of(cls, weights: Sequence[float | None], strata: Sequence[str]) -> Design | None:
        """Return the design of cases; None where one of them was not drawn, or all count alike."""
        known = [each for each in weights if each is not None]
        if len(known) < len(weights) or not known:
            return None
        if len(set(strata)) == 1 and np.allclose(known, known[0]):
            return None
        return cls(np.array(known, dtype=np.float64), tuple(strata))

    @property
    def effect(self) -> float:
        """By how much unequal weights lower what the cases are worth (Kish 1965, 11.7)."""
        return float(self.weights.size * np.square(self.weights).sum() / self.weights.sum() ** 2)

    def resampled(self, bootstrap: Bootstrap, patients: Integers) -> Iterator[Floats]:
        """Yield rows of weights in portions; none where no stratum has two patients.

        A patient with cases in several strata is drawn with the first of them. A stratum with one
        patient stays as it is: it shows no spread.

        Args:
            bootstrap: number of rows, and seed.
            patients: the number of the patient of each case, 0 to P-1; shape (n,).
        """
        groups = self._groups(patients)
        if all(len(each) < 2 for each in groups):
            return
        count = int(patients.max()) + 1
        rng = np.random.default_rng(bootstrap.seed)
        portion = max(1, CELLS // max(patients.size, count))
        for start in range(0, bootstrap.samples, portion):
            rows = min(portion, bootstrap.samples - start)
            times = np.ones((rows, count))
            for group in groups:
                size = len(group)
                if size > 1:
                    drawn = rng.multinomial(size - 1, np.full(size, 1 / size), size=rows)
                    times[:, group] = drawn * size / (size - 1)
            yield times[:, patients] * self.weights

    def _groups(self, patients: Integers) -> list[Integers]:
        """Return the patients of each stratum."""
        first: dict[int, str] = {}
        for patient, stratum in zip(patients.tolist(), self.strata, strict=True):
            first[patient] = min(first.get(patient, stratum), stratum)
        return [
            np.array([patient for patient, own in first.items() if own == name], dtype=np.intp)
            for name in sorted(set(first.values()))
        ]
