"""One person, or one picture, on two sides: what stops a freeze.

Identities that events joined are one patient already (:mod:`training.patients`). Here are those
that nobody joined and that may be one person all the same.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.models import Study
from training.errors import Permanent
from training.fingerprints import MOST_DIFFERENT_BITS, near_pairs
from training.models import CohortMember, SeriesPicture
from training.patients import NameOfIssuer

SAME_PERSON = "the same name, birth date and sex"
SAME_NUMBER = "the same digits in the patient id, of another issuer"
SUSPECTED = "may be a person of another fold"
DUPLICATED = "an image of its patient looks like one of another fold"

_SIDES = ("train", "validation", "test")
"""Folds; what stands further right stays where one must go."""

_FEWEST_DIGITS = 4  # shorter numbers are the same by chance
_SHOWN = 10


class LeakFound(Permanent):
    """A person or a picture may be on two sides; nothing was frozen."""


@dataclass(frozen=True)
class Suspect:
    """Patients on two sides who may be one person.

    Attributes:
        name: what a person accepts it by: the same as long as it is about the same patients.
        why: SAME_PERSON or SAME_NUMBER.
        patients: their keys.
        studies: Study Instance UID and fold of a study on each side.
    """

    name: str
    why: str
    patients: frozenset[str]
    studies: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        studies = ", ".join(f"{uid} ({fold})" for uid, fold in self.studies)
        return f"{self.name}: {self.why} in {studies}"


def find_suspects(
    session: Session, members: Collection[CohortMember], name_of: NameOfIssuer = str
) -> list[Suspect]:
    """Return the patients on different sides who share name, birth date and sex, or a number.

    Names are compared without case, accents and punctuation. Numbers are the digits of Patient IDs
    of different issuers, without leading zeros; two known birth dates that differ say that these
    are two people.
    """
    people = _people(session, members, name_of)
    by_person: dict[tuple[str, ...], list[_Person]] = {}
    by_number: dict[str, list[_Person]] = {}
    for each in people:
        if each.name and each.birth_date:
            by_person.setdefault((each.name, each.birth_date, each.sex), []).append(each)
        if len(each.digits) >= _FEWEST_DIGITS:
            by_number.setdefault(each.digits, []).append(each)
    found = [_suspect(SAME_PERSON, group) for group in by_person.values()]
    for group in by_number.values():
        found += [_suspect(SAME_NUMBER, part) for part in _by_birth_date(group)]
    return sorted({each.name: each for each in found if each}.values(), key=lambda each: each.name)


def settle_suspects(
    suspects: Sequence[Suspect], members: Collection[CohortMember], *, exclude: bool
) -> dict[str, str]:
    """Return the studies that must go because of suspects that nobody accepted, and why.

    Raises:
        LeakFound: there are some and they are not to be left out.
    """
    if suspects and not exclude:
        raise LeakFound(
            f"{len(suspects)} suspected persons are on two sides: {_some(map(str, suspects))}. "
            "Merge the patients where they are one, or accept each by name with "
            "--accept-suspect, or --suspects exclude leaves them out of the lesser fold"
        )
    found: dict[str, str] = {}
    for each in suspects:
        found |= _lesser(members, each.patients, f"{SUSPECTED}: {each.why}")
    return found


def find_duplicates(
    members: Sequence[CohortMember], pictures: Mapping[str, SeriesPicture | None]
) -> list[tuple[CohortMember, CohortMember, int]]:
    """Return pairs of members of different patients and folds whose pictures are near.

    The third value is the number of bits in which their fingerprints differ.
    """
    looked_at = [
        (each, bytes.fromhex(picture.fingerprint))
        for each in members
        if (picture := pictures.get(each.study_instance_uid)) and picture.fingerprint
    ]
    pairs = near_pairs([value for _, value in looked_at], MOST_DIFFERENT_BITS)
    return [
        (one, other, distance)
        for first, second, distance in pairs
        for one, other in ((looked_at[first][0], looked_at[second][0]),)
        if one.patient_key != other.patient_key and one.fold != other.fold
    ]


def settle_duplicates(
    pairs: Sequence[tuple[CohortMember, CohortMember, int]],
    members: Collection[CohortMember],
    *,
    exclude: bool,
) -> dict[str, str]:
    """Return the studies that must go because their pictures are on two sides, and why.

    All studies go that the patient has in the lesser fold: whoever has the same picture is most
    likely the same person.

    Raises:
        LeakFound: there are some and they are not to be left out; it names the pairs.
    """
    if pairs and not exclude:
        said = (
            f"{one.study_instance_uid} ({one.fold}) and {other.study_instance_uid} "
            f"({other.fold}), {distance} of 256 bits apart"
            for one, other, distance in pairs
        )
        raise LeakFound(
            f"{len(pairs)} pairs of near-duplicate images are on two sides: {_some(said)}. "
            "Merge the patients where they are one, or --duplicates exclude leaves them out of "
            "the lesser fold"
        )
    found: dict[str, str] = {}
    for one, other, _ in pairs:
        found |= _lesser(members, {one.patient_key, other.patient_key}, DUPLICATED)
    return found


def _lesser(
    members: Collection[CohortMember], patients: Collection[str], reason: str
) -> dict[str, str]:
    """Return the studies of these patients in all folds but the one that matters most."""
    theirs = [each for each in members if each.patient_key in patients]
    stays = max((each.fold for each in theirs), key=_SIDES.index)
    return {each.study_instance_uid: reason for each in theirs if each.fold != stays}


def _some(said: Iterable[str]) -> str:
    parts = list(said)
    more = f"; and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more


@dataclass(frozen=True)
class _Person:
    key: str
    study: str
    fold: str
    issuer: str
    digits: str
    name: str
    birth_date: str
    sex: str


def _people(
    session: Session, members: Collection[CohortMember], name_of: NameOfIssuer
) -> list[_Person]:
    by_study = {each.study_instance_uid: each for each in members}
    found = []
    for chunk in chunks(sorted(by_study)):
        for study in session.exec(select(Study).where(col(Study.study_instance_uid).in_(chunk))):
            member = by_study[study.study_instance_uid]
            found.append(
                _Person(
                    key=member.patient_key,
                    study=study.study_instance_uid,
                    fold=member.fold,
                    issuer=name_of(study.issuer_of_patient_id),
                    digits=re.sub(r"\D", "", study.patient_id).lstrip("0"),
                    name=_plain(study.patient_name),
                    birth_date=study.patient_birth_date.strip(),
                    sex=study.patient_sex.strip().upper(),
                )
            )
    return found


def _plain(name: str) -> str:
    """Return the letters and digits of a name's alphabetic group, in order, without accents."""
    text = unicodedata.normalize("NFKD", name.split("=")[0]).casefold()
    return " ".join(
        re.findall(r"[^\W_]+", "".join(c for c in text if not unicodedata.combining(c)))
    )


def _by_birth_date(group: Sequence[_Person]) -> list[list[_Person]]:
    """Part people whose known birth dates differ; those of unknown ones stand in every part."""
    unknown = [each for each in group if not each.birth_date]
    dates = sorted({each.birth_date for each in group if each.birth_date})
    return [[*unknown, *(each for each in group if each.birth_date == date)] for date in dates] or [
        unknown
    ]


def _suspect(why: str, group: Sequence[_Person]) -> Suspect | None:
    keys = frozenset(each.key for each in group)
    if len(keys) < 2 or len({each.fold for each in group}) < 2:
        return None
    if why == SAME_NUMBER and len({each.issuer for each in group}) < 2:
        return None
    name = hashlib.sha256("\n".join([why, *sorted(keys)]).encode()).hexdigest()[:12]
    firsts = {each.fold: each.study for each in sorted(group, key=lambda p: p.study, reverse=True)}
    studies = tuple((uid, fold) for fold, uid in sorted(firsts.items()))
    return Suspect(name, why, keys, studies)
