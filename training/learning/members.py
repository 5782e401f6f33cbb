"""From a cohort's members to examples: inputs through the cache, targets as the input asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from labeling.vocabulary import WHOLE
from training.architectures.protocol import Architecture
from training.discs import DISC_CHAIN
from training.domain.domain import Look
from training.domain.overview import FORM, Overview
from training.domain.series import Series
from training.errors import Permanent, Transient
from training.learning.cache import InputCache, key_of
from training.learning.example import Array, Example, InputKind
from training.learning.preparing import Prepared, form_of, prepare_series
from training.localiser import DiscLocaliser
from training.typed_targets import Details, Typed, site_details, whole_details, whole_presence

Targets = Mapping[str, Mapping[str, float | None]]
"""{observation: {site: 1.0, 0.0, or None for unknown}}, as a cohort freezes them."""


@dataclass(frozen=True)
class Examples:
    """Examples of a cohort, and the members without one: study, fold, and reason.

    ``looks`` are what was seen of each member with examples.
    """

    examples: tuple[Example, ...]
    not_used: tuple[dict[str, str], ...]
    looks: tuple[Look, ...] = ()


def examples_of(
    members: Sequence[Mapping[str, Any]],
    architecture: Architecture,
    sites: Sequence[str],
    cache: InputCache,
    progress: Callable[[str], None],
    localiser: DiscLocaliser = DISC_CHAIN,
    overviews: InputCache | None = None,
) -> Examples:
    """Prepare the input of every member; what cannot be prepared is left out and named.

    Args:
        members: study_instance_uid, patient_key, fold, targets, files, and digests of the files.
        architecture: says what an input is.
        sites: of the schema.
        cache: keeps prepared inputs.
        progress: told one line at a time.
        localiser: what finds the discs.
        overviews: keeps overviews of the series; None: nothing is looked at beside the inputs.

    Raises:
        Transient: a file could not be read from disk; names the study.
    """
    form = form_of(architecture.kind, architecture.input_shape, sites, localiser)
    found: list[Example] = []
    not_used: list[dict[str, str]] = []
    looks: list[Look] = []
    for number, member in enumerate(members, start=1):
        progress(f"preparing inputs: study {number} of {len(members)}")
        try:
            read = _Read(architecture, member, sites, localiser)
            given = cache.get(key_of(member["digests"], form), read.input)
            if overviews is not None:
                looks.append(_look(member, read, overviews, str(architecture.kind)))
        except Transient as error:  # a disk that fails now may be there tomorrow
            raise Transient(f"study {member['study_instance_uid']}: {error}") from error
        except Permanent as error:
            reason = {"study": member["study_instance_uid"], "fold": member["fold"]}
            not_used.append({**reason, "reason": str(error)})
            continue
        found += examples_of_study(member, architecture.kind, given, sites)
    return Examples(tuple(found), tuple(not_used), tuple(looks))


def examples_of_study(
    member: Mapping[str, Any], kind: InputKind, given: Array, sites: Sequence[str]
) -> list[Example]:
    """Return the examples of one study: one, or for discs one for each usable disc."""
    if kind is not InputKind.DISC:
        presence = {
            name: whole(by_site, whole_presence(_details(member), name))
            for name, by_site in member["targets"].items()
        }
        return [_example(member, WHOLE, given, presence, whole_details(_details(member)))]
    return [
        _example(
            member,
            site,
            crop,
            {name: _known(by_site.get(site)) for name, by_site in member["targets"].items()},
            site_details(_details(member), site),
        )
        for site, crop in zip(sites, given, strict=True)
        if not np.isnan(crop).any()
    ]


def whole(by_site: Mapping[str, float | None], said: float | None = None) -> float:
    """Return what targets at sites say of the whole study.

    Present where it is present anywhere; else what was said of the whole without a site; absent
    where every site is known and none has it; else unknown, NaN.
    """
    if WHOLE in by_site:
        return _known(by_site[WHOLE])
    values = list(by_site.values())
    known = [value for value in values if value is not None]
    if known and max(known) >= 1.0:
        return 1.0
    if said is not None:
        return float(said)
    return max(known) if known and len(known) == len(values) else float("nan")


def _known(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _details(member: Mapping[str, Any]) -> Details:
    found: Details = member.get("details", {})
    return found


def _example(
    member: Mapping[str, Any],
    site: str,
    given: Array,
    presence: Mapping[str, float],
    typed: Typed,
) -> Example:
    study = member["study_instance_uid"]
    return Example(
        id=f"{study}/{site}",
        patient_key=member["patient_key"],
        fold=member["fold"],
        input=given,
        presence=presence,
        locations=typed.locations,
        severities=typed.severities,
        site=site,
        study=study,
    )


class _Read:
    """The files of a member, read when something is asked for that no cache holds."""

    def __init__(
        self,
        architecture: Architecture,
        member: Mapping[str, Any],
        sites: Sequence[str],
        localiser: DiscLocaliser,
    ) -> None:
        self._architecture, self._sites, self._localiser = architecture, sites, localiser
        self.series = Series([Path(file) for file in member["files"]])

    @cached_property
    def whole(self) -> Prepared:
        shape = self._architecture.input_shape
        kind = self._architecture.kind
        return prepare_series(kind, self.series, shape, self._sites, self._localiser)

    def input(self) -> Array:
        return self.whole.input


def _look(member: Mapping[str, Any], read: _Read, cache: InputCache, kind: str) -> Look:
    key = key_of(member["digests"], f"{FORM}/{kind}")
    vector = cache.get(key, lambda: read.whole.overview.vector())
    facts = read.series.facts(whole=False)
    return Look(member["patient_key"], member["fold"], facts, Overview.of_vector(vector))
