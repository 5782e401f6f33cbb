"""The labeler's settings, the same for the pilot and for the node, and reading without a node."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labeling.decision import decide
from labeling.labeler import LabelResult
from labeling.settings import LabelingSettings
from labeling.thresholds import UNCALIBRATED, Thresholds
from labeling.vocabulary import WHOLE, LabelSchema, State
from tests.acceptance.readings import Reader, read_reports
from tests.parity.gradings import TARGETS, Place

LABELERS = ("token_scores", "rules")
"""Who may read; the first is the embedded language model with its adapter."""


def labeling_settings(labeler: str, threads: int) -> dict[str, Any]:
    """Return the section ``labeling`` of the settings."""
    return {
        "schema_name": "spine",
        "observations": list(TARGETS),
        "labelers": [labeler],
        "language_model": {"dtype": "auto", "threads": threads},
    }


def is_present(state: State) -> bool | None:
    """Return what a label counts as: present against the rest; None where it failed."""
    return None if state is State.FAILED else state is State.PRESENT


@dataclass(frozen=True)
class Reading:
    """Reads without a node, and keeps what was read in a folder."""

    labeler: str
    threads: int
    folder: Path
    thresholds: Thresholds = UNCALIBRATED

    def measure(
        self, texts: Mapping[str, str], *, evidence: bool
    ) -> tuple[dict[str, tuple[LabelResult, ...]], LabelSchema]:
        """Return what the labeler measures of each text, before thresholds decide."""
        settings = LabelingSettings.model_validate(labeling_settings(self.labeler, self.threads))
        # Kept readings go by name: another text under the same name is another one.
        names = {f"{n}-{hashlib.sha256(t.encode()).hexdigest()[:12]}": n for n, t in texts.items()}
        reader = Reader(self.labeler, self.labeler, settings, None, evidence, self.thresholds)
        given = {key: texts[name] for key, name in names.items()}
        readings, schema, _ = read_reports(reader, given, cache=self.folder)
        return {name: readings[key].results for key, name in names.items()}, schema

    def __call__(self, texts: Mapping[str, str]) -> dict[str, dict[Place, bool]]:
        """Return whether the labeler says "present" at each place of each text."""
        measured, schema = self.measure(texts, evidence=True)
        found: dict[str, dict[Place, bool]] = {}
        for name, results in measured.items():
            decided = decide(results, schema, self.thresholds)
            said = {(r.observation, r.site): is_present(r.state) for r in decided}
            found[name] = {p: v for p, v in said.items() if v is not None and p[1] != WHOLE}
        return found
