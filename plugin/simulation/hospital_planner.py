"""Who comes to the simulated hospital on which day, and what is sent about them when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from labeling.synthesis.given import Reader
from plugin.errors import Permanent
from plugin.simulation.dicom_objects import StudyHeader
from plugin.simulation.hospital_events import Event, SendMessage, SendStudy, SimulatedStudy
from plugin.simulation.hospital_reports import ReportWriter, SentReport
from plugin.simulation.identity import (
    SITES,
    SimulatedPatient,
    Site,
    draw_patient,
    seeded_uids,
)
from plugin.simulation.messages import Order, merge_message
from plugin.simulation.spider import spider_studies
from plugin.simulation.spines import ImagedSpine, phantom_spine

_FIRST_NUMBER = 2600000  # before the first accession number of either site
_PATIENT_OFFSET = 2200000  # patient ids count along with accession numbers, lower
_SHARED = 0.3  # share of accession numbers that both sites have given


def deal_kinds(reported: int, seed: int) -> list[str]:
    """Deal out how the reports come: one in ten early, as many corrected, two merged."""
    tenth = max(2, reported // 10)
    kinds = ["early"] * tenth + ["corrected"] * tenth + ["preliminary"] * (tenth + 2)
    kinds += ["merged before", "merged after"]
    kinds += ["plain"] * (reported - len(kinds))
    return [kinds[i] for i in np.random.default_rng([seed, 7]).permutation(reported)]


class Planner:
    """Collects the events of a plan and what is expected of them.

    ``sent`` has the versions of each study's report, ``unlinked`` the control ids of reports that
    must not be linked and why.
    """

    def __init__(
        self, seed: int, patients: int, first_day: dt.date, reader: Reader, images: Path | None
    ) -> None:
        self.seed = seed
        self.first_day = first_day
        self.uids = seeded_uids(seed)
        self.writer = ReportWriter(seed, reader)
        self.spines = _spines(seed, patients, images)
        self.events: list[Event] = []
        self.studies: dict[str, SimulatedStudy] = {}
        self.sent: dict[str, list[SentReport]] = {}
        self.awaiting: list[SimulatedStudy] = []
        self.unlinked: dict[str, str] = {}
        self.merges: set[str] = set()
        counted = round(patients * (1 - _SHARED) / 2)
        self._next_number = {site.name: _FIRST_NUMBER + i * counted for i, site in enumerate(SITES)}

    def add_patient(self, index: int, kind: str, *, with_prior: bool) -> None:
        """Plan one patient's studies and messages; ``kind`` is how the report comes."""
        rng = np.random.default_rng([self.seed, 11, index])
        site = SITES[index % len(SITES)]
        spine = self.spines[index]
        number = self._number(site)
        patient = draw_patient(
            rng, str(number - _PATIENT_OFFSET), site.issuer_of_patient_id, spine.sex
        )
        minutes = 30 * (index % 16) + int(rng.integers(0, 20))
        started = dt.datetime.combine(
            self.first_day + dt.timedelta(days=index // 16), dt.time(8)
        ) + dt.timedelta(minutes=minutes)
        prior_date = None
        if with_prior:
            prior_date = self._add_prior(index, site, patient, started, rng)
        study = self._study(site, patient, spine, number, started)
        if kind == "awaiting":
            self.awaiting.append(study)
            self._send_study(study, started + dt.timedelta(minutes=40))
        elif kind.startswith("merged"):
            self._add_merged(study, kind)
        else:
            late = dt.timedelta(hours=9) if kind == "early" else dt.timedelta(minutes=40)
            self._send_study(study, started + late)
            self._report(study, kind, study.header.patient, prior_date)

    def add_strays(self) -> None:
        """Plan the reports that must stay alone: unknown accession, contradicting patient."""
        south = [each for each in self.awaiting if not each.header.site.declares_study_uid]
        rng = np.random.default_rng([self.seed, 13])
        unknown = self._study_like(south[0], accession_number="2699999")
        self._stray(unknown, unknown.header.patient, "unknown accession number")
        victim = south[-1]
        other = draw_patient(rng, "488888", victim.header.site.issuer_of_patient_id)
        self._stray(victim, other, "contradicting patient")

    def reference_studies(self, count: int) -> tuple[str, ...]:
        """Choose reports by accession numbers that only one site has given."""
        numbers = [each.header.accession_number for each in self.studies.values()]
        unique = [
            uid
            for uid in self.sent
            if numbers.count(self.studies[uid].header.accession_number) == 1
        ]
        return tuple(unique[:count])

    def _number(self, site: Site) -> int:
        self._next_number[site.name] += 1
        return self._next_number[site.name]

    def _study(
        self,
        site: Site,
        patient: SimulatedPatient,
        spine: ImagedSpine,
        number: int,
        started: dt.datetime,
    ) -> SimulatedStudy:
        name = f"{site.name}/{number}"
        header = StudyHeader(
            study_instance_uid=self.uids(name),
            accession_number=str(number),
            started_at=started,
            description=spine.study_description,
            patient=patient,
            site=site,
            equipment=spine.equipment,
            derived=spine.derived,
        )
        study = SimulatedStudy(header, spine, self.uids, self.seed + number)
        self.studies[header.study_instance_uid] = study
        return study

    def _study_like(self, study: SimulatedStudy, *, accession_number: str) -> SimulatedStudy:
        uid = self.uids(f"never sent/{accession_number}")
        header = replace(study.header, accession_number=accession_number, study_instance_uid=uid)
        return replace(study, header=header)

    def _add_prior(
        self,
        index: int,
        site: Site,
        patient: SimulatedPatient,
        started: dt.datetime,
        rng: np.random.Generator,
    ) -> dt.date:
        """Plan an examination one to four years before, sent ahead of all others."""
        years = int(rng.integers(1, 5))
        earlier = started - dt.timedelta(days=365 * years + int(rng.integers(0, 60)))
        spine = phantom_spine(self.seed, index, years_before=years)
        study = self._study(site, patient, spine, self._number(site), earlier)
        self._send_study(study, earlier + dt.timedelta(minutes=40))
        self._report(study, "plain", patient, None)
        return earlier.date()

    def _add_merged(self, study: SimulatedStudy, kind: str) -> None:
        """Plan a report and images that carry two ids of one person, and the merge of both."""
        header = study.header
        old = replace(header.patient, patient_id=f"TMP{header.patient.patient_id}")
        images_first = header.started_at + dt.timedelta(minutes=40)
        before = kind == "merged before"
        if before:  # the images carry the surviving id, the report still the old one
            self._send_study(study, images_first)
            self._report(study, "plain", old, None)
        else:  # the images carry the old id, the report the surviving one, the merge comes last
            study = replace(study, header=replace(header, patient=old))
            self.studies[study.study_instance_uid] = study
            self._send_study(study, images_first)
            self._report(study, "plain", header.patient, None)
        hours = 1 if before else 20
        at = header.started_at + dt.timedelta(hours=hours)
        control_id = f"{header.site.letter}{header.accession_number}M"
        content = merge_message(
            header.site, header.patient, old.patient_id, control_id=control_id, sent_at=at
        )
        self.events.append(SendMessage(at, control_id, header.site.sender, content))
        self.merges.add(control_id)

    def _send_study(self, study: SimulatedStudy, at: dt.datetime) -> None:
        self.events.append(SendStudy(at, study))

    def _report(
        self,
        study: SimulatedStudy,
        kind: str,
        patient: SimulatedPatient,
        prior_date: dt.date | None,
    ) -> None:
        versions = self.writer.versions(
            study.header, study.spine, kind, patient, _order(study.header), prior_date
        )
        self.sent[study.study_instance_uid] = versions
        self._send_versions(study, versions)

    def _stray(self, study: SimulatedStudy, patient: SimulatedPatient, reason: str) -> None:
        versions = self.writer.versions(
            study.header, study.spine, "plain", patient, _order(study.header), None
        )
        self._send_versions(study, versions)
        self.unlinked |= {each.control_id: reason for each in versions}

    def _send_versions(self, study: SimulatedStudy, versions: list[SentReport]) -> None:
        sender = study.header.site.sender
        self.events += [
            SendMessage(each.at, each.control_id, sender, each.content) for each in versions
        ]


def _order(header: StudyHeader) -> Order:
    return Order(
        accession_number=header.accession_number,
        placer_order_number=f"P{header.accession_number}",
        performed_at=header.started_at,
        study_instance_uid=header.study_instance_uid,
    )


def _spines(seed: int, patients: int, images: Path | None) -> list[ImagedSpine]:
    if images is None:
        return [phantom_spine(seed, index) for index in range(patients)]
    found = list(_shuffled(seed, images, patients))
    if len(found) < patients:
        raise Permanent(f"the folder of slices has {len(found)} patients, {patients} are needed")
    return found


def _shuffled(seed: int, images: Path, patients: int) -> Iterator[ImagedSpine]:
    every = list(spider_studies(images))
    order = np.random.default_rng([seed, 17]).permutation(len(every))
    return islice((every[i] for i in order), patients)
