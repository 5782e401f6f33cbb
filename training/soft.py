"""Whether a labeling run has the probabilities that the uncertain policy "soft" asks for."""

from __future__ import annotations

from collections.abc import Iterator

from sqlmodel import Session

from labeling.models import LabelingRun
from labeling.standing import thresholds_with
from labeling.thresholds import Thresholds, at_sites
from labeling.vocabulary import LabelSchema, UncertainPolicy
from training.errors import Permanent
from training.targets import soft_observations


def need_probabilities(
    session: Session, run: LabelingRun, schema: LabelSchema, policy: UncertainPolicy
) -> tuple[str, ...]:
    """Return what is to be soft and has no fitted probability: its uncertain labels are masked.

    Such are observations and, as "... at its sites", their sites. Where none of them has one, the
    policy is refused: it would be "mask" under another name.

    Raises:
        Permanent: nothing was fitted for any observation that is to be soft.
    """
    soft = soft_observations(schema, policy)
    if not soft:
        return ()
    wanted = dict(_fitted(thresholds_with(session, run.calibration_digest), schema, soft))
    if not any(wanted.values()):
        raise Permanent(
            f"the labels of {run.labeler!r} carry no calibrated probabilities: the uncertain "
            "policy soft needs thresholds from `radloop labeler calibrate`, or take mask, "
            "inclusive or exclusive"
        )
    return tuple(name for name, fitted in wanted.items() if not fitted)


def _fitted(
    thresholds: Thresholds, schema: LabelSchema, soft: tuple[str, ...]
) -> Iterator[tuple[str, bool]]:
    for each in schema.observations:
        if each.id not in soft:
            continue
        yield each.id, thresholds.of(each.id).slope != 0
        if each.sites:
            yield at_sites(each.id), thresholds.of(each.id, each.sites[0]).slope != 0
