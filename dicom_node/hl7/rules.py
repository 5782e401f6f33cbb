"""A feed profile in the form in which the reader uses it: paths split, patterns compiled.

Profiles do not change, so each is made ready once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dicom_node.feeds.profile import FeedProfile

_MOST_KEPT = 1024


class Path(NamedTuple):
    """A field path: ``OBR-3`` (component 0: the whole field), ``OBR-3.1``, ``ZDS-1.1.2``."""

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What a profile says, ready for use; words as sent are compared without case."""

    accession: tuple[Path, ...]
    report_number: tuple[Path, ...]
    study_uid: tuple[Path, ...]
    result_status: tuple[Path, ...]
    status_changed: tuple[Path, ...]
    observation_date: tuple[Path, ...]
    modality: tuple[Path, ...]
    accession_pattern: re.Pattern[str] | None
    test_patients: tuple[re.Pattern[str], ...]
    result_statuses: Mapping[str, str]
    observation_statuses: Mapping[str, str]
    modalities: Mapping[str, str]
    sexes: Mapping[str, str]
    ignored_observations: frozenset[str]
    patient_id: tuple[Path, ...]
    patient_id_pattern: re.Pattern[str] | None
    patient_id_types: frozenset[str]


_kept: dict[int, tuple[FeedProfile, Rules]] = {}


def rules_of(profile: FeedProfile) -> Rules:
    """Return the rules of a profile; asked again for the same one, the same rules."""
    found = _kept.get(id(profile))
    if found is not None and found[0] is profile:
        return found[1]
    rules = _rules(profile)
    if len(_kept) >= _MOST_KEPT:
        _kept.clear()
    _kept[id(profile)] = (profile, rules)  # holding the profile keeps its id from being reused
    return rules


def split_path(text: str) -> Path:
    """Split a field path that the profile has checked."""
    segment, _, rest = text.partition("-")
    return Path(segment, *(int(each) for each in rest.split(".")))


def _rules(profile: FeedProfile) -> Rules:
    pattern = profile.accession_number_pattern
    return Rules(
        accession=_paths(profile.accession_number_fields),
        report_number=_paths(profile.report_number_fields),
        study_uid=_paths(profile.study_uid_fields),
        result_status=_paths(profile.result_status_fields),
        status_changed=_paths(profile.status_changed_fields),
        observation_date=_paths(profile.observation_date_fields),
        modality=_paths(profile.modality_fields),
        accession_pattern=re.compile(pattern) if pattern else None,
        test_patients=tuple(re.compile(each) for each in profile.test_patients),
        result_statuses=_words(profile.result_statuses),
        observation_statuses=_words(profile.observation_statuses),
        modalities=_words(profile.modalities),
        sexes=_words(profile.sexes),
        ignored_observations=frozenset(profile.ignored_observations),
        patient_id=_paths(profile.patient_id_fields),
        patient_id_pattern=_compiled(profile.patient_id_pattern),
        patient_id_types=frozenset(profile.patient_id_types),
    )


def _compiled(pattern: str) -> re.Pattern[str] | None:
    return re.compile(pattern) if pattern else None


def _paths(texts: Iterable[str]) -> tuple[Path, ...]:
    return tuple(split_path(each) for each in texts)


def _words(words: Mapping[str, str]) -> dict[str, str]:
    return {key.strip().casefold(): value for key, value in words.items()}
