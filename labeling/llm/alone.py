"""One report that a model cannot answer does not keep the others from their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from labeling.labeler import LabelResult, failed
from labeling.llm.interface import UnansweredReport
from labeling.vocabulary import LabelSchema

_Report = TypeVar("_Report")


def each_answered(
    reports: Sequence[_Report],
    read: Callable[[Sequence[_Report]], list[list[LabelResult]]],
    schema: LabelSchema,
) -> list[list[LabelResult]]:
    """Return the results of all reports, in order.

    They are read together; where that fails for one, each is read alone, and those that cannot be
    answered have failed, with the reason.
    """
    try:
        return read(reports)
    except UnansweredReport as error:
        if len(reports) == 1:
            return [failed(schema, str(error))]
    return [results for each in reports for results in each_answered([each], read, schema)]
