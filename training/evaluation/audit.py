"""What reports' labels say beside what readers saw in the images, condition by condition.

A classifier that learned from reports can be no better than the reports are about the images. The
two differ because the labeler misread, because the report does not say what the image shows, or
because the readers differ from the reporting radiologist; the figures do not tell which.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlmodel import Session, col, select

from dicom_node.models import Study
from labeling.evaluation.agreement import NOT_JUDGED, Agreement, Judgement, agreement
from labeling.evaluation.edges import People
from labeling.evaluation.metrics import Estimate, bounded, estimates
from labeling.evaluation.resampling import Bootstrap, Floats, ratio
from labeling.evaluation.weights import Design
from labeling.models import Label
from labeling.reader_labels import ReaderLabel, reader_labels
from labeling.vocabulary import WHOLE, State
from training.patients import Patients
from training.selection import final_reports, linked_reports
from training.targets import Place

AT_SITES = "at its sites"

FOUR = (State.PRESENT, State.UNCERTAIN, State.ABSENT, State.NOT_MENTIONED)
"""What a report's label can say of a place."""


@dataclass(frozen=True)
class Pair:
    """The report's label and the readers' label of the images at one place of one study.

    Args:
        patient: groups studies that are not independent.
        report: the report's state; NOT_MENTIONED where it says nothing.
        image: the readers' state; None where they disagree.
        weight, stratum: how the study came to be read (``ReaderLabel``).
    """

    study: str
    patient: str
    observation: str
    site: str
    report: State
    image: State | None
    weight: float | None = None
    stratum: str = ""

    @property
    def condition(self) -> str:
        """Return the observation, for whole studies and for sites apart."""
        return self.observation if self.site == WHOLE else f"{self.observation} {AT_SITES}"

    @property
    def differs(self) -> bool:
        """Tell whether one says present and the other does not, and the readers are sure."""
        judged = self.image is not None and self.image not in NOT_JUDGED
        return judged and (self.report is State.PRESENT) != (self.image is State.PRESENT)


@dataclass(frozen=True)
class Audit:
    """Report labels beside image labels of one condition.

    Args:
        agreement: sensitivity, specificity and the like of the report's label for the image's, and
            the table of states, present against the rest.
        same: share of judged places about which both say the same of "present".
        kappa: that, corrected for chance (Cohen, Educ Psychol Meas 1960;20:37).
        disputed: places about which the readers disagree; they are in no figure.
        studies: with a judged place.
    """

    condition: str
    agreement: Agreement
    same: Estimate
    kappa: Estimate
    disputed: int
    studies: int

    @property
    def two_by_two(self) -> dict[str, int]:
        """Return counts of judged places by (report, image): present or not."""
        found = dict.fromkeys(("both", "report_only", "image_only", "neither"), 0)
        for (image, report), count in self.agreement.confusion.items():
            if image not in NOT_JUDGED:
                found[_CELLS[report is State.PRESENT, image is State.PRESENT]] += count
        return found

    def states(self) -> list[dict[str, Any]]:
        """Return the table of states: a row for each that the images have, unjudged ones too."""
        images = sorted({image for image, _ in self.agreement.confusion})
        reports = (*FOUR, *sorted({each for _, each in self.agreement.confusion} - set(FOUR)))
        return [
            {
                "condition": self.condition,
                "image": str(image),
                **{
                    f"report_{report}": self.agreement.confusion.get((image, report), 0)
                    for report in reports
                },
            }
            for image in images
        ]


_CELLS = {
    (True, True): "both",
    (True, False): "report_only",
    (False, True): "image_only",
    (False, False): "neither",
}


def pairs_of(
    session: Session,
    run_id: int,
    patients: Patients,
    salt: bytes,
    observations: Collection[str],
    *,
    deserving: bool = True,
) -> list[Pair]:
    """Return every place of every study of which a run and readers of the images say something.

    The report is the study's one confirmed final report. A report that denies an observation on
    the whole denies it at each site that it does not name, as in training.

    Args:
        session: any session.
        run_id: the labeling run.
        patients, salt: how patients are told apart; a study without one groups with itself.
        observations: of the schema.
        deserving: only image labels that were sampled, blinded and adjudicated.
    """
    images = reader_labels(session, "image")
    reports = _reports(session, images)
    said = _labels(session, run_id, set(reports.values()))
    keys = _keys(session, patients, salt, reports)
    found = []
    for uid, report in sorted(reports.items()):
        if report not in said:
            continue
        for (observation, site), label in sorted(images[uid].items()):
            if observation not in observations or (deserving and not _deserves(label)):
                continue
            found.append(
                Pair(
                    study=uid,
                    patient=keys.get(uid) or uid,
                    observation=observation,
                    site=site,
                    report=_at(said[report], (observation, site)),
                    image=label.state,
                    weight=label.weight,
                    stratum=label.stratum,
                )
            )
    return found


def audit(pairs: Iterable[Pair], *, samples: int = 1000, seed: int = 0) -> list[Audit]:
    """Return the audit of each condition, by name; intervals by resampling patients.

    Where studies were drawn with unequal probabilities, figures are weighted (counts never are).

    Args:
        pairs: from :func:`pairs_of`.
        samples, seed: of the bootstrap.
    """
    by_condition: dict[str, list[Pair]] = {}
    for each in pairs:
        by_condition.setdefault(each.condition, []).append(each)
    return [
        _audit(name, own, samples, seed)
        for name, own in sorted(by_condition.items())
        if any(each.image is not None for each in own)
    ]


def _audit(name: str, pairs: Sequence[Pair], samples: int, seed: int) -> Audit:
    settled = [each for each in pairs if each.image is not None]
    found = agreement((_judgement(name, each) for each in settled), resamples=samples, seed=seed)
    judged = [each for each in settled if each.image not in NOT_JUDGED]
    chance = _chance(judged, Bootstrap(samples, seed))
    return Audit(
        condition=name,
        agreement=found[name],
        same=chance["same"],
        kappa=chance["kappa"],
        disputed=len(pairs) - len(settled),
        studies=len({each.study for each in judged}),
    )


def _judgement(name: str, pair: Pair) -> Judgement:
    return Judgement(
        observation=name,
        patient=pair.patient,
        label=pair.report,
        reference=State(str(pair.image)),
        report=pair.study,
        site=pair.site,
        weight=pair.weight,
        stratum=pair.stratum,
    )


def _chance(pairs: Sequence[Pair], bootstrap: Bootstrap) -> dict[str, Estimate]:
    report = np.array([each.report is State.PRESENT for each in pairs], dtype=np.float64)
    image = np.array([each.image is State.PRESENT for each in pairs], dtype=np.float64)

    def figures(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=1)
        same = ratio(weights @ (report == image).astype(float), total)
        said, seen = ratio(weights @ report, total), ratio(weights @ image, total)
        expected = said * seen + (1 - said) * (1 - seen)
        return {"same": same, "kappa": ratio(same - expected, 1 - expected)}

    if not pairs:
        none = Estimate(float("nan"), float("nan"), float("nan"))
        return {"same": none, "kappa": none}
    design = Design.of([each.weight for each in pairs], [each.stratum for each in pairs])
    patients = [each.patient for each in pairs]
    people = len(set(patients)) / (1.0 if design is None else design.effect)
    return bounded(
        estimates(figures, patients, bootstrap, design), People(people, people, people, people)
    )


def _deserves(label: ReaderLabel) -> bool:
    """A dispute among a sample's readers is counted; labels of no sample are left out."""
    return not label.lacks or (label.state is None and bool(label.sample))


def _reports(session: Session, studies: Collection[str]) -> dict[str, int]:
    """Return the one confirmed final report of each study that has just one."""
    found = {}
    for uid, links in linked_reports(session).items():
        finals = final_reports(links)
        if uid in studies and len(finals) == 1:
            found[uid] = finals[0].report_id
    return found


def _labels(
    session: Session, run_id: int, reports: Collection[int]
) -> dict[int, dict[Place, State]]:
    found: dict[int, dict[Place, State]] = {}
    for label in session.exec(select(Label).where(col(Label.run_id) == run_id)):
        if label.report_id in reports:
            own = found.setdefault(label.report_id, {})
            own[label.observation, label.site] = State(label.state)
    return found


def _at(states: Mapping[Place, State], place: Place) -> State:
    """Return what a report says of a place; silence is absence where the whole is denied."""
    own = states.get(place, State.NOT_MENTIONED)
    whole = states.get((place[0], WHOLE))
    return State.ABSENT if own is State.NOT_MENTIONED and whole is State.ABSENT else own


def _keys(
    session: Session, patients: Patients, salt: bytes, studies: Collection[str]
) -> dict[str, str]:
    rows = session.exec(
        select(Study.study_instance_uid, Study.issuer_of_patient_id, Study.patient_id)
    )
    return {uid: patients.key(issuer, value, salt) for uid, issuer, value in rows if uid in studies}
