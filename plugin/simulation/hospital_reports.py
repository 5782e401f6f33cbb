"""The versions of a simulated study's report, as messages with the time at which they are sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from labeling.vocabulary import State
from plugin.simulation.dicom_objects import StudyHeader
from plugin.simulation.identity import SimulatedPatient
from plugin.simulation.messages import Order, report_message
from plugin.simulation.reports import (
    Context,
    GeneratedReport,
    Habits,
    Place,
    changed,
    corrected,
    preliminary,
    write_report,
)
from plugin.simulation.spines import ImagedSpine
from plugin.simulation.truth import LEVELS, OBSERVATIONS

_OTHER = {State.PRESENT: State.ABSENT, State.ABSENT: State.PRESENT}


@dataclass(frozen=True)
class SentReport:
    """One version of a report: the message that carries it and what its text says."""

    control_id: str
    at: dt.datetime
    content: bytes
    result_status: str
    report: GeneratedReport


class ReportWriter:
    """Writes the reports of the hospital; each study has its own stream of chance."""

    def __init__(self, seed: int, habits: Habits) -> None:
        self._seed = seed
        self._habits = habits

    def versions(
        self,
        header: StudyHeader,
        spine: ImagedSpine,
        kind: str,
        patient: SimulatedPatient,
        order: Order,
        prior_date: dt.date | None,
    ) -> list[SentReport]:
        """Return the versions of a study's report in the order in which they are sent.

        Args:
            header: the study.
            spine: what was imaged.
            kind: "plain", "early", "preliminary" or "corrected".
            patient: as the message names the patient.
            order: as the message names the order.
            prior_date: when an earlier study was made that the report compares with.
        """
        rng = np.random.default_rng(
            [self._seed, 19, int(header.accession_number), ord(header.site.letter)]
        )
        final = self._final(header, spine, prior_date, rng)
        sent = []
        for status, hours, report in _VERSIONS[kind](final, rng):
            at = header.started_at + dt.timedelta(hours=hours, minutes=int(rng.integers(50)))
            control_id = f"{header.site.letter}{header.accession_number}{status}"
            content = report_message(
                header.site,
                patient,
                order,
                report.text,
                control_id=control_id,
                result_status=status,
                sent_at=at,
            )
            sent.append(SentReport(control_id, at, content, status, report))
        return sent

    def _final(
        self,
        header: StudyHeader,
        spine: ImagedSpine,
        prior_date: dt.date | None,
        rng: np.random.Generator,
    ) -> GeneratedReport:
        day = header.started_at.date()
        return write_report(
            spine.truth,
            rng,
            habits=replace(self._habits, graded=self._habits.graded and spine.graded),
            context=Context(header.patient.age(day), header.patient.sex, prior_date),
            unknown=frozenset(each for each in OBSERVATIONS if not spine.truth.known(each)),
        )


Version = tuple[str, int, GeneratedReport]
"""OBR-25, hours after the study, and the report."""


def _plain(final: GeneratedReport, rng: np.random.Generator) -> list[Version]:
    return [("F", int(rng.integers(2, 6)), final)]


def _preliminary(final: GeneratedReport, rng: np.random.Generator) -> list[Version]:
    return [("P", 1, preliminary(final)), ("F", int(rng.integers(4, 8)), final)]


def _corrected(final: GeneratedReport, rng: np.random.Generator) -> list[Version]:
    mistaken = mistake(final, rng)
    return [("F", 3, mistaken), ("C", int(rng.integers(8, 14)), corrected(final, mistaken))]


def mistake(report: GeneratedReport, rng: np.random.Generator) -> GeneratedReport:
    """Return the report with one finding missed or invented, such that the text says so.

    A missed finding is tried first: that is what is corrected most.
    """
    places: list[Place] = [(o, level) for o in OBSERVATIONS for level in LEVELS]
    places = [places[i] for i in rng.permutation(len(places))]
    said = [p for p in places if report.states[p[0]][p[1]] in _OTHER]
    said.sort(key=lambda p: report.states[p[0]][p[1]] is not State.PRESENT)
    for observation, level in said:
        wanted = _OTHER[report.states[observation][level]]
        other = changed(report, {(observation, level): wanted})
        if other.states[observation][level] is wanted:
            return other
    return report


_VERSIONS: dict[str, Callable[[GeneratedReport, np.random.Generator], list[Version]]] = {
    "plain": _plain,
    "early": _plain,
    "preliminary": _preliminary,
    "corrected": _corrected,
}
