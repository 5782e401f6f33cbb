"""The versions of a simulated study's report, as messages with the time at which they are sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from labeling.schema_file import shipped_schema
from labeling.synthesis.generated import GeneratedReport, Place, Split
from labeling.synthesis.generator import Findings, write
from labeling.synthesis.given import Context, Reader
from labeling.vocabulary import LabelSchema, State
from plugin.errors import Permanent
from plugin.simulation.dicom_objects import StudyHeader
from plugin.simulation.findings import findings_of
from plugin.simulation.identity import SimulatedPatient
from plugin.simulation.messages import Order, report_message
from plugin.simulation.spines import ImagedSpine
from plugin.simulation.truth import LEVELS, OBSERVATIONS

READER_OF_REPORTS = Reader(hedged=0.08, omitted=0.15, unsaid=0.25)
"""How surely and how fully the hospital's reports say what is so."""

_SPLIT: Split = "test"
"""A labeler that learned from generated reports has not seen these phrasings."""

_OTHER = {State.PRESENT: State.ABSENT, State.ABSENT: State.PRESENT}
_MISSED_FIRST = (State.PRESENT, State.ABSENT, State.UNCERTAIN, State.NOT_MENTIONED)
_PRELIMINARY = (
    "PRELIMINARY REPORT, not yet verified.",
    "Provisional report, awaiting verification.",
)
_CORRECTED = (
    "CORRECTED REPORT. The statement on {level} in the earlier version was wrong; "
    "this version replaces it.",
    "Correction: the finding at {level} was misreported before. "
    "Please disregard the earlier report.",
)


@dataclass(frozen=True)
class Dictation:
    """All that decides a report's text; its versions say much in the same words.

    Args:
        schema: whose observations it speaks of.
        findings: what the reader sees.
        name: the report's id.
        reader, context: see ``labeling.synthesis.generator.write``.
    """

    schema: LabelSchema
    findings: Findings
    name: str
    reader: Reader
    context: Context

    def report(self, opening: str = "", *, concluded: bool = True) -> GeneratedReport:
        """Return the report, with words before everything else and an impression or none."""
        return write(
            self.schema,
            self.findings,
            name=self.name,
            split=_SPLIT,
            reader=self.reader,
            context=self.context,
            opening=opening,
            concluded=concluded,
        )

    def mistaken(self, place: Place) -> Dictation:
        """Return what the reader would dictate who missed, or invented, a finding."""
        states = dict(self.findings.states)
        states[place] = _OTHER[states[place]]
        return replace(self, findings=replace(self.findings, states=states))


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

    def __init__(self, seed: int, reader: Reader) -> None:
        self._seed, self._reader = seed, reader
        self._schema = shipped_schema("spine")

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
        dictation = self._dictation(header, spine, prior_date)
        sent = []
        for status, hours, drafted in _VERSIONS[kind](dictation, rng):
            report = sendable(drafted, header.site.encoding)
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

    def _dictation(
        self, header: StudyHeader, spine: ImagedSpine, prior_date: dt.date | None
    ) -> Dictation:
        patient, day = header.patient, header.started_at.date()
        return Dictation(
            self._schema,
            findings_of(spine),
            f"{header.site.letter}{header.accession_number}-{self._seed}",
            self._reader,
            Context(patient.age(day), patient.sex, prior_date),
        )


def sendable(report: GeneratedReport, encoding: str) -> GeneratedReport:
    """Return a report without characters that a message cannot carry: a hyphen stands for each."""
    text = report.text.encode(encoding, "replace").decode(encoding)
    letters = ("-" if was != now else now for was, now in zip(report.text, text, strict=True))
    return replace(report, text="".join(letters))


Version = tuple[str, int, GeneratedReport]
"""OBR-25, hours after the study, and the report."""


def _plain(dictation: Dictation, rng: np.random.Generator) -> list[Version]:
    return [("F", int(rng.integers(2, 6)), dictation.report())]


def _preliminary(dictation: Dictation, rng: np.random.Generator) -> list[Version]:
    early = dictation.report(str(rng.choice(_PRELIMINARY)), concluded=False)
    return [("P", 1, early), ("F", int(rng.integers(4, 8)), dictation.report())]


def _corrected(dictation: Dictation, rng: np.random.Generator) -> list[Version]:
    place, mistaken = mistake(dictation, rng)
    note = str(rng.choice(_CORRECTED)).format(level=place[1])
    return [("F", 3, mistaken), ("C", int(rng.integers(8, 14)), dictation.report(note))]


def mistake(dictation: Dictation, rng: np.random.Generator) -> tuple[Place, GeneratedReport]:
    """Return a version with one finding missed or invented, such that the text says so, and where.

    A missed finding is tried first: that is what is corrected most.
    """
    final = dictation.report()
    known = [(observation, level) for observation in OBSERVATIONS for level in LEVELS]
    places = [place for place in known if place in dictation.findings.states]
    places = [places[i] for i in rng.permutation(len(places))]
    for place in sorted(places, key=lambda each: _MISSED_FIRST.index(final.states[each])):
        wanted = _OTHER[dictation.findings.states[place]]
        other = dictation.mistaken(place).report()
        if other.states[place] is wanted and final.states[place] is not wanted:
            return place, other
    raise Permanent("a report that says nothing cannot have been mistaken")


_VERSIONS: dict[str, Callable[[Dictation, np.random.Generator], list[Version]]] = {
    "plain": _plain,
    "early": _plain,
    "preliminary": _preliminary,
    "corrected": _corrected,
}
