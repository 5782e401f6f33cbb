"""The extension point of labeling, and the labeler that asks a language model.

Importing this file loads neither torch nor transformers; a model is loaded with its first report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from labeling.vocabulary import State


@dataclass(frozen=True)
class LabelResult:
    """What a labeler says about one observation at one site of a report.

    ``site`` is a site of the schema or ``vocabulary.WHOLE``. ``probability`` is calibrated or
    None. ``margin`` is logit("yes") - logit("no"). ``evidence`` is a half-open character range of
    the stored report text.
    """

    observation: str
    site: str
    state: State
    probability: float | None = None
    margin: float | None = None
    evidence: tuple[int, int] | None = None
    detail: str = ""


class Labeler(Protocol):
    """Reads one report at a time; the digests say exactly what read it.

    A class named by an entry point of the group ``radloop.labelers`` is called with
    ``(schema, settings, model_store)``: LabelSchema, LabelingSettings, ModelStore.
    """

    name: str
    model_digest: str
    prompt_digest: str

    def label_report(self, text: str) -> list[LabelResult]:
        """Return one result for every observation of the schema, whole and at each site."""
        ...
