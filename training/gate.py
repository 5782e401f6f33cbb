"""The gate before a model goes live: what is asked, what is there, and what is missing, in numbers.

The record of a model is gathered elsewhere (``training.gate_record``); this is a pure function of
it and of the settings. A person may override single needs by name; the event of the promotion
keeps which ones, with the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from training.errors import Permanent
from training.settings import GateSettings


class Need(StrEnum):
    """What the gate asks for; the values are what a person may accept by name."""

    AUROC = "auroc"
    POSITIVES = "positives"
    REFERENCE = "reference"
    IMPACT = "impact"
    SILENT = "silent"
    DRIFT = "drift"
    DOMAIN = "domain"


ASKED = "asked"
"""Key of the gate's settings in what an event keeps."""

DESERVING = 0.9
"""Share of the test studies that readers labelled whose labels must deserve to test."""


@dataclass(frozen=True)
class Shown:
    """What the test fold says of one observation.

    Args:
        auroc: on human labels; None where there is none, with the ``reason``.
        low: lower bound of its 95 % interval; None: it has no interval.
        positives: cases with the finding.
        n: cases in all.
        referenced: test studies with labels of readers that were sampled, blinded and settled.
        read: test studies with a label of any reader.
    """

    auroc: float | None
    low: float | None
    positives: int
    referenced: int
    read: int
    n: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """What is known of a model when somebody wants it live.

    ``silent_days`` is None where it never was silent; ``drifts`` are the alarms of the monitor.
    ``notes`` are the open impact notes, by number; ``domain`` says what the model lacks to know
    which inputs it was made for; ``remarks`` are kept with the promotion and ask for nothing.
    """

    observations: Mapping[str, Shown]
    notes: Mapping[int, str] = field(default_factory=dict)
    silent_days: float | None = None
    silent_studies: int = 0
    drifts: Sequence[str] = ()
    domain: str = ""
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Lack:
    """What is missing, in one sentence with the numbers; without an observation: of the model."""

    need: Need
    why: str
    observation: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Args:
        spoken: the observations of which the model may speak.
        lacks: all that is missing.
        accepted: which needs a person waived, of those that were missing.
        refusal: why it does not go live; empty where it does.
        shown: the figures, by observation.
        notes: the numbers of all impact notes that are open.
        remarks: what else was known, or was not.
        asked: the settings by which it judged.
    """

    spoken: tuple[str, ...]
    lacks: tuple[Lack, ...]
    accepted: tuple[Need, ...]
    refusal: str
    shown: Mapping[str, Shown] = field(default_factory=dict)
    notes: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)

    def details(self) -> dict[str, Any]:
        """Return what the event of a promotion keeps, JSON-ready."""
        return {
            ASKED: dict(self.asked),
            "accepted": [each.value for each in self.accepted],
            "lacks": [
                {"need": each.need.value, "observation": each.observation, "why": each.why}
                for each in self.lacks
            ],
            "open_notes": list(self.notes),
            "remarks": list(self.remarks),
            "observations": {
                name: {"spoken": name in self.spoken, **_kept(each)}
                for name, each in self.shown.items()
            },
        }


def needs_of(names: Collection[str]) -> frozenset[Need]:
    """Return the needs of these names.

    Raises:
        Permanent: a name is none.
    """
    known = {each.value: each for each in Need}
    for name in sorted(names):
        if name not in known:
            raise Permanent(f"the gate knows no {name!r}; what can be accepted: {', '.join(known)}")
    return frozenset(known[name] for name in names)


def judge(record: Record, settings: GateSettings, accepted: Collection[Need] = ()) -> Verdict:
    """Say of which observations a model may speak, or why it does not go live at all.

    An observation that lacks something is left out, or refuses everything, as the settings say;
    where none is left, nothing is promoted. What the model lacks as a whole always refuses.

    Args:
        record: what is known of it.
        settings: what is asked.
        accepted: what a person waives.
    """
    lacks = [lack for each in record.observations.items() for lack in _lacks(*each, settings)]
    lacks += _lacks_of_model(record, settings)
    missing = {each.need for each in lacks}
    standing = [each for each in lacks if each.need not in accepted]
    failed = {each.observation for each in standing} - {""}
    spoken = tuple(name for name in record.observations if name not in failed)
    refusing = [each for each in standing if not each.observation or settings.failing == "refuse"]
    if not refusing and not spoken:
        refusing = standing
    refusal = "; ".join(each.why for each in refusing)
    if not record.observations:
        refusal = "; ".join(filter(None, ("the model predicts no observation", refusal)))
    return Verdict(
        spoken=spoken,
        lacks=tuple(lacks),
        accepted=tuple(need for need in Need if need in accepted and need in missing),
        refusal=refusal,
        shown=dict(record.observations),
        notes=tuple(record.notes),
        remarks=tuple(record.remarks),
        asked=settings.model_dump(mode="json"),
    )


def asked_of(details: Mapping[str, Any]) -> str:
    """Return in words what a gate asked for, from what an event keeps; empty: it was not kept.

    Settings can be changed and changed back, so what they said is part of the decision.
    """
    asked = details.get(ASKED)
    if not asked:
        return ""
    usual = GateSettings().model_dump(mode="json")
    return ", ".join(
        f"{name.replace('_', ' ')} {value}"
        + (f" (default {usual[name]})" if name in usual and usual[name] != value else "")
        for name, value in asked.items()
    )


def _lacks(name: str, shown: Shown, settings: GateSettings) -> list[Lack]:
    found = {
        Need.AUROC: _lack_of_auroc(shown, settings.minimum_auroc),
        Need.POSITIVES: _lack_of_positives(shown, settings.minimum_positives),
        Need.REFERENCE: _lack_of_reference(shown, sampled=settings.reference == "sampled"),
    }
    return [Lack(need, f"{name}: {why}", name) for need, why in found.items() if why]


def _lack_of_auroc(shown: Shown, least: float) -> str:
    """Return what is missing; only a bound that is a number, and can be one, is enough."""
    value, low = shown.auroc, shown.low
    if low is None:
        why = shown.reason or "it was not evaluated on the test fold"
        said = "no AUROC" if value is None else f"AUROC {value} without interval"
        if value is not None and _is_share(value):
            said = f"AUROC {value:.3f} without interval"
        return f"{said} ({why}), a lower bound is needed"
    if value is None or not (_is_share(low) and _is_share(value) and low <= value + _ROUNDING):
        return f"AUROC {value} with the lower bound {low} is none that can be"
    if low >= least:
        return ""
    return f"the lower bound of AUROC is {low:.3f}, {least:.3f} is needed ({least - low:.3f} short)"


_ROUNDING = 1e-9


def _is_share(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value) and 0 <= value <= 1 + _ROUNDING


def _lack_of_positives(shown: Shown, least: int) -> str:
    there, n = shown.positives, shown.n
    if type(there) is not int or type(n) is not int or not 0 <= there <= n:
        return f"{there} positives of {n} cases are none that can be"
    if there >= least:
        return ""
    return f"{there} positives in the test fold, {least} are needed ({least - there} missing)"


def _lack_of_reference(shown: Shown, *, sampled: bool) -> str:
    there = shown.referenced if sampled else shown.read
    if there == 0:
        kind = "sampled, blinded and settled labels" if sampled else "a label of a human reader"
        return f"no test study has {kind} ({shown.read} were read by anybody)"
    if there < DESERVING * shown.read:
        return (
            f"{there} of the {shown.read} test studies that were read have sampled, blinded and "
            f"settled labels, {DESERVING:.0%} are needed"
        )
    return ""


def _lacks_of_model(record: Record, settings: GateSettings) -> list[Lack]:
    found = []
    if record.notes:
        found.append(
            Lack(
                Need.IMPACT,
                f"{len(record.notes)} impact notes are open ({_some(list(record.notes.values()))})",
            )
        )
    if record.domain:
        found.append(Lack(Need.DOMAIN, record.domain))
    days = record.silent_days or 0.0
    if not (math.isfinite(days) and days >= settings.silent_days):
        why = f"{days:.1f} days of silent mode, {settings.silent_days:g} are needed"
        found.append(Lack(Need.SILENT, why))
    if record.silent_studies < settings.silent_studies:
        found.append(
            Lack(
                Need.SILENT,
                f"{record.silent_studies} studies compared with a report in silent mode, "
                f"{settings.silent_studies} are needed",
            )
        )
    if record.drifts and settings.drift == "refuse":
        found.append(Lack(Need.DRIFT, f"the monitor reports drift: {_some(record.drifts)}"))
    return found


def _kept(shown: Shown) -> dict[str, Any]:
    """Return the figures for JSON, in which numbers that are none stand as words."""
    return {
        key: str(each) if isinstance(each, float) and not math.isfinite(each) else each
        for key, each in asdict(shown).items()
    }


_NAMED = 5


def _some(sentences: Sequence[str]) -> str:
    more = len(sentences) - _NAMED
    return "; ".join(sentences[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
