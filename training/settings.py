"""Settings of training and prediction; ``plugin.settings`` reads them from one TOML file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dicom_node.setting_values import Section
from labeling.vocabulary import UncertainPolicy
from training.learning.settings import LearningSettings


class TrainingSettings(Section):
    """How cohorts are split and classifiers trained."""

    classifier: str = "disc_network"
    disc_localiser: str = "disc_chain"
    seed: int = 20260101
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    test_share: float = Field(default=0.25, gt=0, lt=1)
    uncertain_policy: UncertainPolicy = "mask"
    reports_after_delivery: Literal["keep", "exclude"] = "keep"
    maximum_epochs: int = Field(default=40, ge=1)
    patience: int = Field(default=8, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    threads: int = Field(default=2, ge=1)
    bootstrap_samples: int = Field(default=1000, ge=100)
    learning: LearningSettings = LearningSettings()


class PredictionRule(Section):
    """Which live model runs on which complete study."""

    model: str
    modality: str = "MR"
    body_part: str = "LSPINE"  # compared with Body Part Examined without case; empty: any
    series_description: str = "T2"  # a series whose description contains this is needed
    series_rule: str = ""  # of training.images, by name or path; decides alone where it is given
    only_without_final_report: bool = True
