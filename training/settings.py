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
    priors: int = Field(default=0, ge=0, le=20)  # earlier studies to fetch for each that arrives


class GateSettings(Section):
    """What a model must show before it goes live; ``training.gate`` judges it."""

    minimum_auroc: float = Field(default=0.6, ge=0, le=1)  # of the lower bound, on human labels
    minimum_positives: int = Field(default=10, ge=0)  # in the test fold, by observation
    reference: Literal["sampled", "any"] = "sampled"  # readers' labels that count
    failing: Literal["omit", "refuse"] = "omit"  # an observation that does not pass; or everything
    silent_days: float = Field(default=0, ge=0)  # of silent mode that must have passed
    silent_studies: int = Field(default=0, ge=0)  # compared with a report in silent mode
    drift: Literal["refuse", "ignore"] = "refuse"  # an alarm of the monitor about this model


class MonitorSettings(Section):
    """How predictions are watched; ``training.monitoring`` computes it."""

    labeler: str = ""  # whose labels of reports count; empty: the one that the model learned from
    reference_studies: int = Field(default=100, ge=10)  # the first ones of a model
    newest_studies: int = Field(default=50, ge=10)
    minimum_distance: float = Field(default=0.25, gt=0)  # population stability index of an alarm
    minimum_failures: float = Field(default=0.2, gt=0, le=1)  # more sites not evaluated, a share
    significance: float = Field(default=0.01, gt=0, lt=1)  # over all observations together
