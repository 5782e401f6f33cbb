"""What faults are made of: chance, numbers, people, other pairs, and messages around a report."""

from __future__ import annotations

import datetime as dt
import random
from collections import deque

from tests.acceptance.adversarial import wire
from tests.acceptance.adversarial.drafts import Draft, DraftStudy
from tests.acceptance.adversarial.people import Numbers, Person, Population
from tests.acceptance.adversarial.rates import Rates
from tests.acceptance.adversarial.sites import SITES, Site
from tests.acceptance.adversarial.texts import draw_lines

MODALITIES = ("MR", "CT", "DX")
_UID_ROOT = "1.2.826.0.1.3680043.10.1520"
_REMEMBERED = 400
_FINDINGS = (
    "Disc at {level} narrowed, signal reduced",
    "Central herniation at {level} touching the dura",
    "No fracture at {level}; height preserved",
    "Facet arthropathy at {level}, left > right",
    "Foraminal stenosis {level} | grade 2",
)
_LEVELS = ("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1", "T12 & L1")


class Scene:
    """Everything that a fault may draw on.

    Args:
        chance: seeded; the one source of everything that happens.
        rates: of the faults and their variants.
        seed: told apart in UIDs and control ids, so that runs can be put together.
    """

    def __init__(self, chance: random.Random, rates: Rates, seed: int) -> None:
        self.chance = chance
        self.rates = rates
        shares = {
            "patient_id": rates.sites["shared_patient_ids"],
            "accession": rates.sites["shared_accession_numbers"],
            "placer": rates.sites["shared_order_numbers"],
            "filler": rates.sites["shared_order_numbers"],
        }
        self.numbers = Numbers(chance, shares)
        self._population = Population(chance, self.numbers)
        self._seed = seed
        self._count = 0
        self._recent: dict[Site, deque[Draft]] = {site: deque(maxlen=_REMEMBERED) for site in SITES}
        self.twins: dict[int, Person] = {}

    def happens(self, variant: str) -> bool:
        """Draw one of the variants of ``rates.toml``."""
        return self.chance.random() < self.rates.variants[variant]

    def hours(self, least: float, most: float) -> dt.timedelta:
        """Draw a time span; whole seconds."""
        return dt.timedelta(seconds=int(3600 * self.chance.uniform(least, most)))

    def number(self, kind: str, site: Site) -> str:
        """Return a new number of a site."""
        return self.numbers.new(kind, site)

    def unique(self) -> int:
        """Return a count that is never given twice."""
        self._count += 1
        return self._count

    def uid(self) -> str:
        """Return a new Study Instance UID."""
        return f"{_UID_ROOT}.{self._seed}.{self.unique()}"

    def person(self, site: Site, patient_id: str = "") -> Person:
        """Return somebody new."""
        return self._population.person(site, patient_id)

    def twin(self, of: Person) -> Person:
        """Return a twin, who from now on is whom a typing error confuses them with."""
        twin = self._population.twin(of)
        self.twins[of.key], self.twins[twin.key] = twin, of
        return twin

    def namesake(self, of: Person, site: Site) -> Person:
        """Return somebody of the same name, birth date, sex and bare patient id elsewhere."""
        return self._population.namesake(of, site, of.patient_id)

    def remember(self, draft: Draft) -> None:
        """Let later pairs know of this one."""
        self._recent[draft.site].append(draft)

    def other_pair(self, draft: Draft) -> Draft | None:
        """Return a recent pair of another patient at the same site."""
        recent = self._recent[draft.site]
        for _ in range(5):
            if recent and (found := self.chance.choice(recent)).person.key != draft.person.key:
                return found
        return None

    def somebody_else(self, draft: Draft) -> Person | None:
        """Return another patient of the same site: the twin, where there is one."""
        if twin := self.twins.get(draft.person.key):
            return twin
        found = self.other_pair(draft)
        return found.person if found else None

    def study(self, person: Person, like: Draft) -> DraftStudy:
        """Return a study of a person on the day and with the modality of a pair."""
        site = like.site
        return DraftStudy(
            uid=self.uid(),
            person=person,
            patient_id=person.patient_id,
            accession=self.number("accession", site),
            date=like.exam.date(),
            modality=like.modality,
            patient_issuer=site.patient_issuer,
            accession_issuer=site.accession_issuer,
            accession_issuer_assumed=not site.accession_issuer_sent,
            name=person.name,
            birth_date=f"{person.birth_date:%Y%m%d}",
        )

    def finding(self, modality: str) -> str:
        """Return a sentence that no other report holds."""
        text = self.chance.choice(_FINDINGS).format(level=self.chance.choice(_LEVELS))
        return f"{text} ({modality}, series {self.unique()})"

    def report(self, modality: str) -> tuple[str, ...]:
        """Return the lines of a report; no other report holds one of them."""
        found = [f"{line} ({modality}, series {self.unique()})" for line in draw_lines(self.chance)]
        return ("FINDINGS:", *found, f"IMPRESSION: {self.finding(modality)}.")

    def envelope(
        self, site: Site, system: str, message_type: str, sent: dt.datetime
    ) -> wire.Envelope:
        """Return an envelope with a control id of its own."""
        control_id = f"{self._seed}-{self.unique()}"
        version = "2.3.1" if message_type.startswith("ORM") else "2.5.1"
        return wire.Envelope(site, system, message_type, control_id, sent, version)

    def order(self, draft: Draft) -> bytes:
        """Return the order behind a pair, as its site sends orders."""
        site, study = draft.site, draft.studies[0]
        kind = "OMI^O23^OMI_O23" if site.accession_issuer_sent else "ORM^O01"
        envelope = self.envelope(site, "ORDERS", kind, draft.exam - self.hours(1, 48))
        return wire.order(
            envelope,
            pid(draft.person, draft.person.patient_id),
            draft.placer,
            draft.filler,
            accession_sent(site, draft.accession),
            study.uid,
            draft.modality,
        )


def pid(person: Person, patient_id: str) -> wire.Pid:
    """Return PID of a person as the person is, under an id."""
    return wire.Pid(
        patient_id,
        person.site.patient_issuer,
        person.name,
        f"{person.birth_date:%Y%m%d}",
        person.sex,
    )


def accession_sent(site: Site, accession: str, with_issuer: bool = True) -> str:
    """Return an accession number as the site sends it."""
    if site.accession_issuer_sent and with_issuer:
        return f"{accession}^{site.accession_issuer}"
    return accession
