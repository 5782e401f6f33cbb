"""An analysis plan: what will be measured on a test set, fixed and digested before it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from training.errors import Permanent
from training.evaluation.attributes import SUBGROUPS
from training.manifest import digest_of
from training.metrics import DECIDED, RANKED
from training.targets import Place

FIGURES = (*RANKED, *DECIDED, "brier")
"""What can be the primary figure."""

OPERATING_POINT = "greatest sensitivity + specificity - 1 on the validation fold, as registered"
"""Whence thresholds come; none is ever chosen on a test set."""


Said = Mapping[str, Mapping[Place, float | None]]
"""Probabilities of one model by Study Instance UID and place; None: not evaluated."""

REFERENCE = "against reference labels of human readers"
UNSAMPLED_REFERENCE = (
    "agreement with human labels of images that were not sampled, blinded and adjudicated"
)
MIXTURE = (
    "of the mixture that was drawn: studies were sampled with unequal probabilities, and nothing "
    "is weighted"
)
"""What holds of figures on a stratified, or otherwise unequal, sample."""


@dataclass(frozen=True)
class PlannedModel:
    """A registered model and the thresholds that it was registered with."""

    reference: str  # NAME:VERSION
    weights_digest: str
    operating_points: Mapping[str, float | None]


@dataclass(frozen=True)
class Plan:
    """An analysis that is fixed before anybody looks.

    Args:
        cohort: digest of the cohort whose test fold is opened.
        schema: digest of the label schema.
        test_set: digest of members, reference labels and images (``digest_of_test_set``).
        studies, patients: of the test set.
        models: one or two; two are compared, the first against the second.
        observations: which are evaluated.
        primary: observation and figure; of two models their difference. All others are secondary.
        subgroups: which of ``attributes.SUBGROUPS``.
        samples, seed: of the bootstrap by patient.
        bins: of the reliability curve.
        accepted: shortcomings of the cohort's labels that a person accepted.
        split: of the cohort, beside the folds by patient; empty: none.

    Raises:
        Permanent: the plan contradicts itself.
    """

    cohort: str
    schema: str
    test_set: str
    studies: int
    patients: int
    models: tuple[PlannedModel, ...]
    observations: tuple[str, ...]
    primary: tuple[str, str]
    subgroups: tuple[str, ...] = SUBGROUPS
    samples: int = 1000
    seed: int = 0
    bins: int = 10
    accepted: tuple[str, ...] = ()
    split: Mapping[str, str] | None = None
    operating_point: str = OPERATING_POINT

    def __post_init__(self) -> None:
        observation, figure = self.primary
        reasons = (
            (not 1 <= len(self.models) <= 2, "a plan has one model, or two that it compares"),
            (len({each.reference for each in self.models}) < len(self.models), _SAME),
            (not self.observations, "a plan needs an observation"),
            (
                observation not in self.observations,
                "the primary figure is of no planned observation",
            ),
            (figure not in FIGURES, f"a primary figure is one of {', '.join(FIGURES)}"),
            (
                not set(self.subgroups) <= set(SUBGROUPS),
                f"subgroups are among {', '.join(SUBGROUPS)}",
            ),
            (
                not _FEWEST <= self.samples <= MOST_SAMPLES,
                f"a plan has {_FEWEST} to {MOST_SAMPLES} bootstrap samples",
            ),
            (len(set(self.observations)) < len(self.observations), "an observation stands twice"),
            (len(set(self.subgroups)) < len(self.subgroups), "a subgroup stands twice"),
            (self.bins < 1, "a reliability curve needs a bin"),
            (self._unlearned(), "a model did not learn the primary observation"),
            (self._undecided(), "a model has no operating point for the primary observation"),
        )
        if fault := next((reason for applies, reason in reasons if applies), ""):
            raise Permanent(fault)

    def _unlearned(self) -> bool:
        return any(self.primary[0] not in each.operating_points for each in self.models)

    def _undecided(self) -> bool:
        observation, figure = self.primary
        points = [each.operating_points.get(observation) for each in self.models]
        return figure in DECIDED and None in points

    @property
    def record(self) -> dict[str, Any]:
        """Return the plan for JSON; the digest covers all of it."""
        return {
            **asdict(self),
            "models": [asdict(each) for each in self.models],
            "observations": list(self.observations),
            "primary": list(self.primary),
            "subgroups": list(self.subgroups),
            "accepted": list(self.accepted),
            "split": dict(self.split or {}),
        }

    @property
    def digest(self) -> str:
        """Return SHA-256 over the plan."""
        return digest_of(self.record)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Plan:
        """Return the plan that a record holds."""
        return cls(
            **{
                **record,
                "models": tuple(PlannedModel(**each) for each in record["models"]),
                **{name: tuple(record[name]) for name in _TUPLES},
            }
        )


_TUPLES = ("observations", "primary", "subgroups", "accepted")
_SAME = "a model is not compared with itself"
_FEWEST = 100
MOST_SAMPLES = 100_000
"""Draws of the bootstrap; more would only take time."""
