"""What a structured report says, apart from how DICOM encodes it: findings, algorithm, observer.

The builder (:mod:`dicom_node.sr.building`) writes these values, the reader
(:mod:`dicom_node.sr.reading`) gives the same values back.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dicom_node.errors import Permanent

PRIVATE_SCHEME = "99RADLOOP"
"""Coding scheme designator of our own codes (PS3.16 8.2: private schemes begin with 99)."""

WARNING = (
    "RESEARCH USE ONLY - NOT FOR DIAGNOSIS. Computed by an algorithm, not verified by a physician."
)
"""The first line of every report."""

SITE_SEPARATOR = " @ "
"""Stands between condition and site id in a Tracking Identifier."""

_UID_NAMESPACE = uuid.UUID("6d0f6f0e-63b5-5a52-9d5f-1f6f0d6f7a11")


class FindingState(StrEnum):
    """What the algorithm decided at one site; "not evaluated" is no kind of "absent"."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True)
class ConceptCode:
    """A coded concept (PS3.3 8.8): value, coding scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str


RESEARCH_TITLE = ConceptCode("AIRESULT", PRIVATE_SCHEME, "AI RESULT - RESEARCH USE ONLY")
"""Document title; a standard measurement title would send viewers looking for coordinates."""

STATE_CODES: Mapping[FindingState, ConceptCode] = {
    FindingState.PRESENT: ConceptCode("52101004", "SCT", "Present"),
    FindingState.ABSENT: ConceptCode("272519000", "SCT", "Absent"),
    FindingState.UNDETERMINED: ConceptCode("373068000", "SCT", "Undetermined"),
    FindingState.NOT_EVALUATED: ConceptCode("373121007", "SCT", "Not Evaluated"),
}
"""PS3.16 CID 240 and, for a site that was not evaluated, CID 3703."""


@dataclass(frozen=True)
class Finding:
    """One condition at one site.

    Args:
        condition: the coded condition.
        site: the coded anatomic site; None where the finding speaks of the whole study.
        site_id: the site's id in the label schema, for example "L4-L5" or "whole".
        probability: 0 to 1, calibrated by the caller; None where there is none.
        threshold: the operating point on the probability, 0 to 1.
        state: a :class:`FindingState` or its value.
        reason: why the site was not evaluated, or another remark; empty for none.

    Raises:
        Permanent: a probability outside 0 to 1, an evaluated site called not evaluated, a site
            not evaluated without a reason, or a text that cannot be written and read back.
    """

    condition: ConceptCode
    site: ConceptCode | None
    site_id: str
    probability: float | None
    threshold: float | None
    state: FindingState
    reason: str = ""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "state", FindingState(self.state))
        except ValueError as error:
            raise Permanent(f"unknown state of a finding: {self.state!r}") from error
        for name in ("probability", "threshold"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:  # NaN fails this too
                raise Permanent(f"the {name} of a finding must lie between 0 and 1, not {value!r}")
        if self.state is FindingState.NOT_EVALUATED and (
            self.probability is not None or not self.reason
        ):
            raise Permanent("a site that was not evaluated has a reason and no probability")
        if not self.site_id or SITE_SEPARATOR in self.site_id:
            raise Permanent(f"a site id must not be empty or contain {SITE_SEPARATOR!r}")


@dataclass(frozen=True)
class Algorithm:
    """The model that computed the findings (PS3.16 TID 4019).

    Args:
        name: name of the model.
        version: version of the model.
        manufacturer: who made it.
        device_uid: Device UID (0018,1002), new with every training.
        parameters: what identifies the model further, for example ``weights_digest`` and
            ``cohort``; a key must not contain "=".
    """

    name: str
    version: str
    manufacturer: str
    device_uid: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any("=" in key or key == "threshold" for key in self.parameters):
            raise Permanent('an algorithm parameter is called "threshold" or contains "="')


@dataclass(frozen=True)
class DeviceObserver:
    """The device that observed and wrote (PS3.16 TID 1004; PS3.3 C.7.5.1)."""

    uid: str
    name: str
    manufacturer: str
    model_name: str
    software_version: str = ""
    institution: str = ""


@dataclass(frozen=True)
class ReportContent:
    """What was read back from a structured report."""

    title: ConceptCode
    warning: str
    summary: str
    procedure: ConceptCode | None
    observer: Mapping[str, str]
    algorithm: Algorithm | None
    findings: tuple[Finding, ...]
    evidence: Mapping[str, int]
    """Number of referenced instances by Series Instance UID."""


UidSource = Callable[..., str]
"""Makes a UID from texts; the same texts give the same UID."""


def deterministic_uid(*parts: str) -> str:
    """Return a UID under 2.25 (PS3.5 B.2) that depends on nothing but ``parts``.

    The parts are digested with their lengths first, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big") + content)
    return f"2.25.{uuid.uuid5(_UID_NAMESPACE, digest.hexdigest()).int}"


def _sites_by(findings: Sequence[Finding]) -> str:
    by_condition: dict[str, list[str]] = {}
    for finding in findings:
        by_condition.setdefault(finding.condition.meaning, []).append(finding.site_id)
    return "; ".join(f"{name} at {', '.join(sites)}" for name, sites in by_condition.items())


def summarise(findings: Sequence[Finding]) -> str:
    """Return the findings in plain words: what is above threshold, what was not evaluated, why."""
    groups = {state: [f for f in findings if f.state is state] for state in FindingState}
    missing = groups[FindingState.NOT_EVALUATED]
    evaluated = len(findings) - len(missing)
    present, undetermined = groups[FindingState.PRESENT], groups[FindingState.UNDETERMINED]
    lines = []
    if present:
        lines.append(f"Above threshold: {_sites_by(present)}.")
    elif evaluated:
        lines.append("Nothing above threshold.")
    if undetermined:
        lines.append(f"Undetermined: {_sites_by(undetermined)}.")
    if evaluated:
        lines.append(f"Below threshold: {len(groups[FindingState.ABSENT])} of {evaluated}.")
    reasons: dict[str, list[Finding]] = {}
    for finding in missing:
        reasons.setdefault(finding.reason, []).append(finding)
    because = "; ".join(f"{reason}: {_sites_by(those)}" for reason, those in reasons.items())
    if missing:
        lines.append(f"Not evaluated: {len(missing)} of {len(findings)} ({because}).")
    return " ".join(lines)


def series_description(findings: Sequence[Finding]) -> str:
    """Return a text of at most 20 characters, for viewers cut the Series Description there."""
    present = sum(f.state is FindingState.PRESENT for f in findings)
    evaluated = sum(f.state is not FindingState.NOT_EVALUATED for f in findings)
    if not evaluated:
        return "AI RESEARCH: no data"
    text = f"AI RESEARCH: {present} of {evaluated}"
    return text if len(text) <= 20 else f"AI RESEARCH: {present}/{evaluated}"[:20]
