"""The gate before a model goes live: what is asked, what is there, and what is missing, in numbers.

The record of a model is gathered elsewhere (``training.gate_record``); this is a pure function of
it and of the settings. A person may override single needs by name; the event of the promotion
keeps which ones, with the numbers.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Shown:
    """What the test fold says of one observation.

    Args:
        auroc: on human labels; None where there is none, with the ``reason``.
        low: lower bound of its 95 % interval; None: it has no interval.
        positives: cases with the finding.
        referenced: test studies with labels of readers that were sampled, blinded and settled.
        read: test studies with a label of any reader.
    """

    auroc: float | None
    low: float | None
    positives: int
    referenced: int
    read: int
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """What is known of a model when somebody wants it live.

    ``silent_days`` is None where it never was silent; ``drifts`` are the alarms of the monitor.
    """

    observations: Mapping[str, Shown]
    notes: Sequence[str] = ()
    silent_days: float | None = None
    silent_studies: int = 0
    drifts: Sequence[str] = ()


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
    """

    spoken: tuple[str, ...]
    lacks: tuple[Lack, ...]
    accepted: tuple[Need, ...]
    refusal: str
    shown: Mapping[str, Shown] = field(default_factory=dict)

    def details(self) -> dict[str, Any]:
        """Return what the event of a promotion keeps, JSON-ready."""
        return {
            "accepted": [each.value for each in self.accepted],
            "lacks": [
                {"need": each.need.value, "observation": each.observation, "why": each.why}
                for each in self.lacks
            ],
            "observations": {
                name: {"spoken": name in self.spoken, **asdict(each)}
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
    )


def _lacks(name: str, shown: Shown, settings: GateSettings) -> list[Lack]:
    found: list[tuple[Need, str]] = []
    if shown.low is None:
        why = shown.reason or "it was not evaluated on the test fold"
        value = "no AUROC" if shown.auroc is None else f"AUROC {shown.auroc:.3f} without interval"
        found.append((Need.AUROC, f"{value} ({why}), a lower bound is needed"))
    elif shown.low < settings.minimum_auroc:
        bound, least = shown.low, settings.minimum_auroc
        found.append(
            (
                Need.AUROC,
                f"the lower bound of AUROC is {bound:.3f}, {least:.3f} is needed "
                f"({least - bound:.3f} short)",
            )
        )
    if shown.positives < settings.minimum_positives:
        missing = settings.minimum_positives - shown.positives
        found.append(
            (
                Need.POSITIVES,
                f"{shown.positives} positives in the test fold, {settings.minimum_positives} are "
                f"needed ({missing} missing)",
            )
        )
    sampled = settings.reference == "sampled"
    if (shown.referenced if sampled else shown.read) == 0:
        kind = "sampled, blinded and settled labels" if sampled else "a label of a human reader"
        found.append(
            (Need.REFERENCE, f"no test study has {kind} ({shown.read} were read by anybody)")
        )
    return [Lack(need, f"{name}: {why}", name) for need, why in found]


def _lacks_of_model(record: Record, settings: GateSettings) -> list[Lack]:
    found = []
    if record.notes:
        found.append(
            Lack(Need.IMPACT, f"{len(record.notes)} impact notes are open ({_some(record.notes)})")
        )
    days = record.silent_days or 0.0
    if days < settings.silent_days:
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


_NAMED = 5


def _some(sentences: Sequence[str]) -> str:
    more = len(sentences) - _NAMED
    return "; ".join(sentences[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
