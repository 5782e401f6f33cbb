"""Patients, and the numbers that sites give to them and to their examinations."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass, replace

from tests.acceptance.adversarial.sites import SITES, Site

_FAMILIES = """
Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Köhler König Groß Krüger
Lehmann Öztürk Yilmaz Kowalski Nowak Garcia Martin Rossi Jensen Åkesson
"""
_FEMALE = "Anna Käthe Jutta Maria Sophie Zoé Ingrid Leyla Elif Birgit Renée Hanna"
_MALE = "Jörg Hans Günter Paul Emre René Lars Matthias Karl-Heinz Ali Björn Tomás"
FAMILIES, FEMALE, MALE = (tuple(each.split()) for each in (_FAMILIES, _FEMALE, _MALE))


@dataclass(frozen=True)
class Person:
    """A human being at one site; ``key`` tells people apart, whatever the data say."""

    key: int
    site: Site
    patient_id: str
    family: str
    given: str
    birth_date: dt.date
    sex: str

    @property
    def name(self) -> str:
        """The name as the site writes it (PN and XPN alike)."""
        return f"{self.family}^{self.given}"


def born(chance: random.Random) -> dt.date:
    """Return a birth date whose day and month can be mistaken for each other."""
    month = chance.randint(1, 12)
    day = chance.choice([each for each in range(1, 13) if each != month])
    return dt.date(chance.randint(1930, 2008), month, day)


def swapped(date: dt.date) -> dt.date:
    """Return the date with day and month mistaken for each other."""
    return date.replace(month=date.day, day=date.month)


class Numbers:
    """Unique numbers of each kind and site; some of the second site's are in use at the first.

    Args:
        chance: seeded.
        shares: probability by kind that the second site's number is one of the first's.
    """

    def __init__(self, chance: random.Random, shares: dict[str, float]) -> None:
        self._chance = chance
        self._shares = shares
        self._made: dict[tuple[str, str], int] = {}
        self._free: dict[str, list[str]] = {kind: [] for kind in shares}
        self.shared: dict[str, int] = dict.fromkeys(shares, 0)
        self.second_site: dict[str, int] = dict.fromkeys(shares, 0)

    def new(self, kind: str, site: Site) -> str:
        """Return a number that the site has not given before."""
        if site is SITES[0]:
            number = self._make(kind, site)
            free = self._free[kind]
            free.append(number)
            if len(free) > 2000:
                del free[:1000]
            return number
        self.second_site[kind] += 1
        if self._free[kind] and self._chance.random() < self._shares[kind]:
            free = self._free[kind]
            position = self._chance.randrange(len(free))
            free[position], free[-1] = free[-1], free[position]
            self.shared[kind] += 1
            return free.pop()
        return self._make(kind, site)

    def same_at_both(self, kind: str) -> str:
        """Return a number that both sites give, and no others of theirs."""
        self.second_site[kind] += 1
        self.shared[kind] += 1
        return self._make(kind, SITES[0])

    def neighbour(self, number: str) -> str:
        """Return the number given just after another one, as to twins at admission."""
        return number[:-1] + str(int(number[-1]) + 1)

    def _make(self, kind: str, site: Site) -> str:
        count = self._made.get((kind, site.name), 0) + 1
        self._made[kind, site.name] = count
        # A multiplier without common factor visits each number once, in no visible order. The last
        # digit is 0, so that neighbours stay free.
        scattered = count * 736_8787 % 10_000_000
        return f"{SITES.index(site) + 1}{scattered:07d}0"


class Population:
    """Makes people.

    Args:
        chance: seeded.
        numbers: of both sites.
    """

    def __init__(self, chance: random.Random, numbers: Numbers) -> None:
        self._chance = chance
        self._numbers = numbers
        self._count = 0

    def person(self, site: Site, patient_id: str = "") -> Person:
        """Return somebody new at a site."""
        self._count += 1
        chance = self._chance
        sex = chance.choice("MF")
        return Person(
            key=self._count,
            site=site,
            patient_id=patient_id or self._numbers.new("patient_id", site),
            family=chance.choice(FAMILIES),
            given=chance.choice(FEMALE if sex == "F" else MALE),
            birth_date=born(chance),
            sex=sex,
        )

    def twin(self, of: Person) -> Person:
        """Return a twin: another given name, mostly of the same sex, the neighbouring id."""
        other = self.person(of.site, self._numbers.neighbour(of.patient_id))
        same_sex = self._chance.random() < 0.7
        sex = of.sex if same_sex else other.sex
        names = [each for each in (FEMALE if sex == "F" else MALE) if each != of.given]
        return replace(
            other,
            family=of.family,
            birth_date=of.birth_date,
            sex=sex,
            given=self._chance.choice(names),
        )

    def namesake(self, of: Person, site: Site, patient_id: str) -> Person:
        """Return somebody else with the same name, birth date and sex at another site."""
        other = self.person(site, patient_id)
        return replace(
            other, family=of.family, given=of.given, birth_date=of.birth_date, sex=of.sex
        )


def mistype(number: str, chance: random.Random) -> str:
    """Return a number with one digit mistaken, or two neighbours exchanged; never the same."""
    at = chance.randrange(1, len(number) - 1)
    if chance.random() < 0.5 and number[at] != number[at + 1]:
        return number[:at] + number[at + 1] + number[at] + number[at + 2 :]
    wrong = chance.choice([each for each in "0123456789" if each != number[at]])
    return number[:at] + wrong + number[at + 1 :]
