"""Plan the days of a simulated hospital: patients, studies, reports, and what must come of them.

The plan is made before anything is sent, from one seed, and knows the truth: what each spine has,
what each report's text says, which report belongs to which study and which must not be linked.
Everything in it is simulated, the pairing of real slices with reports above all.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labeling.synthesis.generated import GeneratedReport, Place
from labeling.synthesis.given import Reader
from labeling.vocabulary import WHOLE, State
from plugin.errors import Permanent
from plugin.simulation.hospital_events import Event, SendMessage, SendStudy, SimulatedStudy
from plugin.simulation.hospital_planner import Planner, deal_kinds
from plugin.simulation.hospital_reports import READER_OF_REPORTS
from plugin.simulation.truth import LEVELS, OBSERVATIONS, SpineTruth

__all__ = [
    "READER",
    "REFERENCE_COLUMNS",
    "Event",
    "HospitalPlan",
    "SendMessage",
    "SendStudy",
    "SimulatedStudy",
    "plan_hospital",
]

READER = "simulated-reader-1"
REFERENCE_COLUMNS = ("level", "subject", "observation", "site", "reader", "state")

States = Mapping[Place, State]
Row = tuple[str, str, str, str, str, str]


@dataclass(frozen=True)
class HospitalPlan:
    """What happens, in order of time, and what is true of it.

    Attributes:
        events: studies and messages to send, in order.
        studies: every study, priors included, by Study Instance UID.
        reports: by message control id, each version of each report, strays left out.
        final_message: by Study Instance UID, the control id of the version that stands.
        awaiting: studies without a report of their own; their patients are held out.
        expected_links: (message control id, Study Instance UID) of every version that belongs;
            once all is sent, only those of ``final_links`` still stand.
        expected_unlinked: control ids of reports that must not be linked, with the reason.
        merges: control ids of the patient merges.
        reference_studies: studies whose reports the simulated reader has labelled.
    """

    seed: int
    events: tuple[Event, ...]
    studies: Mapping[str, SimulatedStudy]
    reports: Mapping[str, GeneratedReport]
    final_message: Mapping[str, str]
    awaiting: frozenset[str]
    expected_links: frozenset[tuple[str, str]]
    expected_unlinked: Mapping[str, str]
    merges: frozenset[str]
    reference_studies: tuple[str, ...]

    @property
    def truth_of(self) -> dict[str, SpineTruth]:
        """The truth of every study's spine, by Study Instance UID."""
        return {uid: study.spine.truth for uid, study in self.studies.items()}

    @property
    def report_states(self) -> dict[str, States]:
        """What the text of each study's final report says at each place, by Study Instance UID."""
        return {uid: self.reports[each].states for uid, each in self.final_message.items()}

    @property
    def final_links(self) -> frozenset[tuple[str, str]]:
        """The links that stand when everything has been sent."""
        return frozenset((control_id, uid) for uid, control_id in self.final_message.items())

    def reference_rows(self) -> list[Row]:
        """Return what the simulated reader says, as rows of ``REFERENCE_COLUMNS``.

        Reports of some training patients are labelled as read; the images of the held-out
        patients are labelled as they truly are, where the truth is known.
        """
        rows: list[Row] = []
        for uid in self.reference_studies:
            number = self.studies[uid].header.accession_number
            for (observation, site), state in self.report_states[uid].items():
                if observation in OBSERVATIONS:
                    rows.append(("report", number, observation, site, READER, str(state)))
        for uid in sorted(self.awaiting):
            truth = self.studies[uid].spine.truth
            for observation in (each for each in OBSERVATIONS if truth.known(each)):
                for site in (WHOLE, *LEVELS):
                    present = truth.present(observation, None if site == WHOLE else site)
                    state = State.PRESENT if present else State.ABSENT
                    rows.append(("image", uid, observation, site, READER, str(state)))
        return rows

    def write_reference_csv(self, path: Path) -> int:
        """Write the reference rows as CSV with a header; return how many there are."""
        rows = self.reference_rows()
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(REFERENCE_COLUMNS)
            writer.writerows(rows)
        return len(rows)


def plan_hospital(
    seed: int,
    *,
    patients: int = 72,
    awaiting: int = 12,
    priors: int = 8,
    reference_reports: int = 24,
    images: Path | None = None,
    reader: Reader = READER_OF_REPORTS,
    first_day: dt.date = dt.date(2026, 3, 2),
) -> HospitalPlan:
    """Plan a hospital; the same arguments give the same plan, down to each byte.

    Args:
        seed: decides everything.
        patients: how many persons are imaged.
        awaiting: how many of them get no report; they come last and have no prior study.
        priors: how many have an earlier study with a report of its own; none with ``images``.
        reference_reports: how many reports the simulated reader labels.
        images: a folder of SPIDER slices; None draws phantoms.
        reader: what its reports hedge and leave out.
        first_day: when the first study is made.

    Raises:
        Permanent: too few patients for every kind of report, or too few in ``images``.
    """
    if patients < awaiting + 24 or awaiting < 2:
        raise Permanent(f"{patients} patients with {awaiting} awaiting a report are too few")
    planner = Planner(seed, patients, first_day, reader, images)
    reported = patients - awaiting
    kinds = deal_kinds(reported, seed)
    plain = [index for index, kind in enumerate(kinds) if kind == "plain"]
    with_prior = set() if images else set(plain[:priors])
    for index in range(patients):
        kind = kinds[index] if index < reported else "awaiting"
        planner.add_patient(index, kind, with_prior=index in with_prior)
    planner.add_strays()
    return _finished(planner, reference_reports)


def _finished(planner: Planner, reference_reports: int) -> HospitalPlan:
    final = {uid: versions[-1] for uid, versions in planner.sent.items()}
    every = [version for versions in planner.sent.values() for version in versions]
    return HospitalPlan(
        seed=planner.seed,
        events=tuple(sorted(planner.events, key=lambda event: event.at)),
        studies=planner.studies,
        reports={each.control_id: each.report for each in every},
        final_message={uid: each.control_id for uid, each in final.items()},
        awaiting=frozenset(each.study_instance_uid for each in planner.awaiting),
        expected_links=frozenset(
            (each.control_id, uid) for uid, versions in planner.sent.items() for each in versions
        ),
        expected_unlinked=dict(planner.unlinked),
        merges=frozenset(planner.merges),
        reference_studies=planner.reference_studies(reference_reports),
    )
