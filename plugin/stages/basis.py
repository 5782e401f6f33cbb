"""Which readers' labels count: those that calibrate, gate and test, or all; how it is called.

Only labels of a stored sample, read blinded and settled by agreement or an adjudicator, calibrate,
gate or test. What rests on others is called agreement with report labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from labeling.reference import ReaderLabel
from plugin.errors import Permanent
from plugin.stages.labelled import LabelledReports
from training.evidence import UNSAMPLED

__all__ = ["AGREEMENT", "HOW", "REFERENCE", "UNSAMPLED", "Use", "chosen", "what_lacks"]

REFERENCE = "reference: readers' labels that were sampled, blinded and adjudicated"
AGREEMENT = (
    "agreement with report labels: not all of these readers' labels were sampled, blinded and "
    "adjudicated, so no figure here says how good a labeler is in this house"
)
HOW = (
    "`radloop reference sample` draws reports for readers and `radloop reference import --sample` "
    "takes what they say"
)


class Use(StrEnum):
    """What the labels are for."""

    GATE = "gate"
    """To calibrate or qualify: only labels that deserve it."""
    FIGURES = "figures"
    """To look at: those that deserve it where there are some, else all."""
    ALL = "all"
    """A person accepted what there is."""


def chosen(labelled: LabelledReports, use: Use, purpose: str = "") -> LabelledReports:
    """Return the reports with the labels that count.

    Args:
        labelled: all that readers labelled.
        use: what for.
        purpose: what refuses, for the sentence of an error, for example "calibrate".

    Raises:
        Permanent: labels gate, and there are some, but none that deserves it.
    """
    deserving = [
        each._replace(labels=own)
        for each in labelled.reports
        if (own := {place: label for place, label in each.labels.items() if not label.lacks})
    ]
    given = [label for each in labelled.reports for label in each.labels.values()]
    if use is Use.ALL or not given or (use is Use.FIGURES and not deserving):
        # What readers dispute is no reference, and does not make a sample one of another kind.
        others = any(each.lacks and each.state is not None for each in given)
        return labelled._replace(sampled=bool(deserving) and not others)
    if not deserving:
        raise Permanent(
            f"none of {len(given)} labels that readers gave may {purpose or 'gate'}: "
            f"{what_lacks(given)}. {HOW}; or --accept-unsampled, which the record will say"
        )
    left_out = sum(bool(each.lacks) for each in given)
    return labelled._replace(reports=deserving, sampled=True, left_out=left_out)


def what_lacks(labels: Iterable[ReaderLabel]) -> str:
    """Return in words why labels may not calibrate, gate or test, the most frequent first."""
    counts = Counter(each.lacks for each in labels if each.lacks)
    return ", ".join(f"{count} are {reason}" for reason, count in counts.most_common())
