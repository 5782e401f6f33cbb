"""What tests of labelers share: a setup without files, and a language model that is a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labeling.labeler import LabelerSetup
from labeling.llm.model_store import ModelStore
from labeling.rules.labeler import RuleLabeler
from labeling.settings import LabelingSettings
from labeling.thresholds import UNCALIBRATED, Thresholds
from labeling.vocabulary import LabelSchema


def setup_of(
    schema: LabelSchema,
    *,
    store: Path = Path("/nonexistent"),
    thresholds: Thresholds = UNCALIBRATED,
    **settings: Any,
) -> LabelerSetup:
    """Return a setup with the given settings of labeling."""
    return LabelerSetup(
        schema, LabelingSettings.model_validate(settings), ModelStore(store), thresholds
    )


def rules_of(schema: LabelSchema) -> RuleLabeler:
    """Return the rule labeler of a schema."""
    return RuleLabeler(setup_of(schema))
