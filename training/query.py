"""What a cohort asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dicom_node.reports.status import FINAL_STATUSES
from labeling.vocabulary import LabelSchema
from training.evaluation.splits import Split
from training.listed import Listed
from training.patients import NameOfIssuer
from training.selection import SeriesRule
from training.settings import TrainingSettings
from training.targets import UncertainPolicy


@dataclass(frozen=True)
class CohortQuery:
    """What a cohort is made of.

    Args:
        name: what people call it.
        schema: the observations and sites that become targets.
        run_id: the labeling run whose labels train and validate.
        modality, body_parts, series_description: the image series that a study must hold.
        uncertain_policy: what an uncertain label becomes; None: as the settings say.
        include_reference_only_tests: whether a test member may lack a final report.
        lock_reference_patients: whether the test fold is exactly the patients with image-level
            reference labels; otherwise the patient's key alone decides the fold.
        accepted: shortcomings of the labels that a person accepted ("uncalibrated",
            "unqualified", "unsampled"); they stand in the cohort for good.
        uncalibrated: what has no fitted threshold where others have: observations, and "... at its
            sites"; written into the cohort, too.
        unjudged: in the same way what the verdict let pass without enough readers' labels.
        sequences: patterns of Series Description (``SeriesRule``).
        first_date, last_date: Study Date (0008,0020) from and to, YYYYMMDD, both included; empty:
            no bound.
        minimum_link: "confirmed", or "reviewed" where a person must have decided about the link.
        excluded: lists of studies or patients that are left out.
        consent: the list of those who agreed ("opt_in") or did not ("opt_out").
        consent_rule: which of the two it is.
        accepted_suspects: names of suspected persons on two sides whom somebody has looked at and
            taken for several (``training.leaks``); they stand in the cohort for good.
        suspects, duplicates: whether those on two sides stop the freeze or are left out of
            training.
        label_words, secondary_captures: whether images with words of labels in their headers, or
            that are secondary captures, are left out or kept.
        reports_after_delivery: whether a report that came after a prediction of ours was delivered
            is left out or kept; None: as the settings say.
        series_rule, image_rule: name and digest of a rule of ``training.images``, which decides
            alone about images then.
        split: further division beside the folds by patient (``training.evaluation.splits``); None:
            there is none.
        device_names: names under which this node signs its structured reports.
    """

    name: str
    schema: LabelSchema
    run_id: int
    modality: str = "MR"
    body_parts: tuple[str, ...] = ()
    series_description: str = ""
    uncertain_policy: UncertainPolicy | None = None
    include_reference_only_tests: bool = True
    lock_reference_patients: bool = True
    accepted: tuple[str, ...] = ()
    uncalibrated: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    first_date: str = ""
    last_date: str = ""
    minimum_link: Literal["confirmed", "reviewed"] = "confirmed"
    excluded: tuple[Listed, ...] = ()
    consent: Listed | None = None
    consent_rule: Literal["opt_in", "opt_out"] = "opt_in"
    accepted_suspects: tuple[str, ...] = ()
    suspects: Literal["stop", "exclude"] = "stop"
    duplicates: Literal["stop", "exclude"] = "stop"
    label_words: Literal["exclude", "keep"] = "exclude"
    secondary_captures: Literal["exclude", "keep"] = "exclude"
    reports_after_delivery: Literal["exclude", "keep"] | None = None
    device_names: tuple[str, ...] = ()
    series_rule: str = ""
    image_rule: str = ""
    split: Split | None = None

    @property
    def rule(self) -> SeriesRule:
        """Which image series count."""
        return SeriesRule(
            self.modality,
            self.body_parts,
            self.series_description,
            self.sequences,
            self.image_rule,
        )

    def record(
        self, settings: TrainingSettings, salt: bytes, name_of: NameOfIssuer = str
    ) -> dict[str, Any]:
        """Return the query for the cohort's digest; of lists their digests alone."""
        more: dict[str, Any] = {
            "accepted": sorted(self.accepted),
            "uncalibrated": sorted(self.uncalibrated),
            "unjudged": sorted(self.unjudged),
            "sequences": sorted(self.sequences),
            "study_dates": [self.first_date, self.last_date]
            if self.first_date or self.last_date
            else [],
            "series_rule": {"name": self.series_rule, "digest": self.image_rule}
            if self.image_rule
            else {},
            "split": {self.split.kind: self.split.value} if self.split else {},
            "minimum_link": "" if self.minimum_link == "confirmed" else self.minimum_link,
            "excluded_lists": sorted(
                [each.kind, each.digest(salt, name_of)] for each in self.excluded
            ),
            "consent": [self.consent_rule, self.consent.kind, self.consent.digest(salt, name_of)]
            if self.consent
            else [],
            "accepted_suspects": sorted(self.accepted_suspects),
            "suspects": "" if self.suspects == "stop" else self.suspects,
            "duplicates": "" if self.duplicates == "stop" else self.duplicates,
            "label_words": "" if self.label_words == "exclude" else self.label_words,
            "secondary_captures": ""
            if self.secondary_captures == "exclude"
            else self.secondary_captures,
            "reports_after_delivery": "exclude" if self.reports_after_delivery == "exclude" else "",
        }
        return {
            "modality": self.modality,
            "body_parts": list(self.body_parts),
            "series_description": self.series_description,
            "uncertain_policy": self.uncertain_policy,
            "include_reference_only_tests": self.include_reference_only_tests,
            "lock_reference_patients": self.lock_reference_patients,
            "validation_share": settings.validation_share,
            "test_share": settings.test_share,
            "result_statuses": sorted(FINAL_STATUSES),
            # Only where there is something to say: earlier cohorts keep their digests.
            **{name: value for name, value in more.items() if value},
        }
