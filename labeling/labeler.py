"""The extension point of labeling: what a labeler is given, and what it says about a report.

Importing this file loads neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from labeling.errors import Permanent
from labeling.language import Languages, load_languages
from labeling.llm.model_store import ModelStore
from labeling.settings import LabelingSettings
from labeling.thresholds import UNCALIBRATED, Thresholds
from labeling.vocabulary import WHOLE, LabelSchema, State

Span = tuple[int, int]
"""A half-open range of characters of the stored report text."""


NOT_ASKED = "not asked: the report does not name the level"
"""Note of a label that a labeler left out because the report names no such site."""


class InvalidResults(Permanent):
    """A labeler's answer does not fit the schema or the report."""


@dataclass(frozen=True)
class LabelResult:
    """What a labeler says about one observation at one site of a report.

    Args:
        observation: id of the schema.
        site: a site of the observation, or ``vocabulary.WHOLE``.
        state: what the labeler itself decides; ``decision.decide`` applies thresholds to margins.
        probability: calibrated, that a reader says "present"; None where nothing was fitted.
        margin: log-odds of present against the rest before calibration; of rules an order only.
        mention_margin: log-odds of mentioned against not mentioned, where that was asked.
        evidence: ranges of the stored text that carry the label, the strongest first.
        severity: id of the observation's severity scale; empty: not said.
        locations: ids of the schema's locations that are said.
        detail: a short note for people; never words of the report.
        own_state: what the labeler itself decided, after ``decide`` decided; None before.
    """

    observation: str
    site: str
    state: State
    probability: float | None = None
    margin: float | None = None
    mention_margin: float | None = None
    evidence: tuple[Span, ...] = ()
    severity: str = ""
    locations: tuple[str, ...] = ()
    detail: str = ""
    own_state: State | None = None


@dataclass(frozen=True)
class LabelerSetup:
    """All that a labeler is made from.

    ``thresholds`` lets a labeler spend work (evidence) where a label will count; the states that
    are stored are decided by ``decision.decide`` afterwards. Where ``evidence`` is false only
    margins are wanted, and none is sought.
    """

    schema: LabelSchema
    settings: LabelingSettings
    model_store: ModelStore
    thresholds: Thresholds = UNCALIBRATED
    languages: Languages = field(default_factory=load_languages)
    evidence: bool = True


class Labeler(Protocol):
    """Reads reports; the digests say exactly what read them.

    A class named by an entry point of the group ``radloop.labelers`` is called with a
    ``LabelerSetup``. ``model_digest`` is the SHA-256 of the weights or of the rules' source,
    ``prompt_digest`` of every word that is asked and every setting that changes an answer.
    """

    name: str
    model_digest: str
    prompt_digest: str

    def label_reports(self, texts: Sequence[str]) -> Iterator[list[LabelResult]]:
        """Yield for each text, in order, a result for every observation, whole and at each site.

        A report that cannot be read gives ``failed`` with a reason; it stops no other.
        """
        ...


def is_unasked(result: LabelResult) -> bool:
    """Return whether nobody weighed a site, as the report does not name it."""
    return result.margin is None and NOT_ASKED in result.detail.split("; ")


def row_of(result: LabelResult) -> dict[str, Any]:
    """Return a result as values of JSON."""
    # Its values are plain already; ``asdict`` copies each, which takes a tenth of a fast labeler.
    return {**vars(result), "state": str(result.state)}


def result_of(row: Mapping[str, Any]) -> LabelResult:
    """Return the result that ``row_of`` wrote, read back from JSON."""
    spans = tuple((int(start), int(end)) for start, end in row["evidence"])
    changed = {
        "state": State(row["state"]),
        "evidence": spans,
        "locations": tuple(row["locations"]),
        "own_state": State(row["own_state"]) if row.get("own_state") else None,
    }
    return LabelResult(**{**row, **changed})


def failed(schema: LabelSchema, reason: str) -> list[LabelResult]:
    """Return the results for a report that cannot be read: every label failed, with the reason."""
    return [
        LabelResult(observation.id, site, State.FAILED, detail=reason)
        for observation in schema.observations
        for site in (WHOLE, *observation.sites)
    ]


def checked(results: Sequence[LabelResult], schema: LabelSchema, text: str) -> list[LabelResult]:
    """Return results that keep to the schema and quote the report.

    Raises:
        InvalidResults: a result is missing, stands twice, or its evidence is not in the report.
    """
    expected = {(o.id, site) for o in schema.observations for site in (WHOLE, *o.sites)}
    given = [(result.observation, result.site) for result in results]
    if len(given) != len(expected) or set(given) != expected:
        raise InvalidResults("the labeler did not answer each observation and site once")
    for result in results:
        for start, end in result.evidence:
            if not 0 <= start < end <= len(text) or not text[start:end].strip():
                raise InvalidResults("the labeler's evidence lies outside the report")
        observation = schema.observation(result.observation)
        if result.severity and result.severity not in {each.id for each in observation.severities}:
            raise InvalidResults("the labeler's severity is not one of the observation's")
        if set(result.locations) - {each.id for each in schema.locations}:
            raise InvalidResults("the labeler's location is not one of the schema's")
    return list(results)
