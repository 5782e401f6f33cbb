"""Settings of how long what is stored is kept: retention, promises to keep, erasure."""

from __future__ import annotations

from pydantic import Field

from dicom_node.setting_values import Section


class RetentionRule(Section):
    """Which studies are deleted, and how long after their last image came; without a rule, none.

    What a frozen cohort or a live model's prediction rests on is kept unless the rule says so.
    """

    name: str = Field(min_length=1, max_length=64)
    older_than_days: float = Field(gt=0)
    modality: str = ""  # of some series; empty: any
    body_part: str = ""  # Body Part Examined of that series; empty: any
    study_description: str = "*"
    delete_cohort_members: bool = False
    delete_predicted: bool = False


class CommitmentSettings(Section):
    """What the node promises to those who ask it to commit (PS3.4 Annex J), and how it reports.

    ``minimum_retention_days`` counts from the judgement; no rule of retention deletes a committed
    instance before. An erasure does.
    """

    minimum_retention_days: float = Field(default=365.0, ge=0)
    index_wait_seconds: float = Field(default=300.0, ge=0)  # for what came before the request
    maximum_attempts: int = Field(default=12, ge=1)  # to report
    first_retry_seconds: float = Field(default=5.0, gt=0)  # doubled with each attempt, up to 1 h


class ErasureSettings(Section):
    """What happens after a patient was erased."""

    keep_out: bool = False  # true: whatever comes again for an erased patient is erased again
