"""The two usual ways to link, on the same pairs: bare accession, and accession with patient id.

Both get every advantage: they see the last message of each report, read what could not be decoded
as missing, and honour withdrawals. They know neither issuers nor merges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from tests.acceptance.adversarial.drafts import Lost, Pair


@dataclass
class Baseline:
    """What one way of linking comes to."""

    links: int = 0
    wrong_links: int = 0
    wrong_person: int = 0
    clean: int = 0
    clean_linked: int = 0
    faulty_linkable: int = 0
    faulty_linked: int = 0

    def __iadd__(self, other: Baseline) -> Baseline:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self


def link_by_numbers(
    pairs: Iterable[Pair],
    people: Mapping[str, int],
    bare: Mapping[str, tuple[str, str]],
    *,
    with_patient: bool,
) -> Baseline:
    """Link every report to every study with its accession number.

    Args:
        pairs: the truth, with what each report said.
        people: the person of every study, by UID.
        bare: accession number and patient id of every study, by UID.
        with_patient: whether the patient id must be the same too.
    """
    studies: dict[str, list[str]] = {}
    for uid, (accession, _) in bare.items():
        studies.setdefault(accession, []).append(uid)
    result = Baseline()
    for pair in pairs:
        accessions, patient_id = pair.said
        linked = set()
        if not pair.lost & {Lost.WITHDRAWN, Lost.UNREADABLE}:
            linked = {
                uid
                for accession in accessions
                for uid in studies.get(accession, ())
                if not with_patient or bare[uid][1] == patient_id
            }
        own = people[pair.studies[0]]
        wrong = linked.difference(pair.studies)
        result.links += len(linked)
        result.wrong_links += len(wrong)
        result.wrong_person += sum(people[uid] != own for uid in wrong)
        if pair.lost or pair.contested:
            continue
        whole = linked.issuperset(pair.studies)
        result.clean += pair.clean
        result.clean_linked += pair.clean and whole
        result.faulty_linkable += not pair.clean
        result.faulty_linked += whole and not pair.clean
    return result
