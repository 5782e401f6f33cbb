"""The verdict on a labeler: good enough for a cohort or not, by criteria that are stated."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from labeling.evaluation.agreement import Agreement


@dataclass(frozen=True)
class Criteria:
    """What a labeler must reach on readers' labels, in each observation unless said otherwise.

    The interval of the balanced accuracy must also lie above one half: better than chance.

    Args:
        reports: judged reference labels that a figure needs.
        positives: of them present.
        balanced_accuracy: at least.
        mean_balanced_accuracy: over the observations, at least.
        calibration_error: of the probabilities, at most.
        failed: share of failed labels, at most.
        reports_per_hour: at least.
        memory_gib: greatest resident memory of the process that reads, at most.
        allow_unjudged: let observations pass for which readers gave too few labels.
    """

    reports: int = 30
    positives: int = 5
    balanced_accuracy: float = 0.75
    mean_balanced_accuracy: float = 0.85
    calibration_error: float = 0.15
    failed: float = 0.02
    reports_per_hour: float = 60.0
    memory_gib: float = 24.0
    allow_unjudged: bool = False


@dataclass(frozen=True)
class Effort:
    """What reading costs: ``seconds`` for ``reports`` after a first one, and the peak of memory.

    Peak memory counts the whole process that read (bytes); 0: not measured.
    """

    reports: int
    seconds: float
    peak_bytes: int

    @property
    def reports_per_hour(self) -> float:
        """Reports that are read in an hour at this rate."""
        return 3600 * self.reports / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Verdict:
    """Whether a labeler qualifies, why not (sentences), and what was measured against what."""

    qualified: bool
    failings: tuple[str, ...]
    figures: Mapping[str, Any]
    criteria: Mapping[str, Any]


def judge(
    found: Mapping[str, Agreement],
    effort: Effort,
    criteria: Criteria,
    *,
    calibrated: bool,
    observations: Collection[str] = (),
    held_out: bool = True,
) -> Verdict:
    """Return the verdict.

    Args:
        found: agreement by observation.
        effort: what reading cost.
        criteria: what must be reached.
        calibrated: whether thresholds were fitted for this model, these questions and schema.
        observations: all of the schema; one that readers never labelled counts as unjudged.
        held_out: whether the thresholds were fitted on other labels than those that judge.
    """
    failings = [] if calibrated else ["no thresholds are fitted for this configuration"]
    if not held_out:
        failings.append("the thresholds were fitted on the labels that judge them: use --folds")
    unknown = [name for name in observations if name not in found]
    if unknown and not criteria.allow_unjudged:
        failings += [f"{name}: readers gave no labels" for name in unknown]
    judged = {name: each for name, each in found.items() if _can_be_judged(each, criteria)}
    for name, each in found.items():
        if name in judged:
            failings += _failings(name, each, criteria)
        elif not criteria.allow_unjudged:
            failings.append(
                f"{name}: readers gave {each.n} labels, {each.n_present} of them present; "
                f"{criteria.reports} and {criteria.positives} are needed, as many not present"
            )
    means = [each.balanced_accuracy.value for each in judged.values()]
    mean = sum(means) / len(means) if means else None
    if mean is None:
        failings.append("no observation has enough readers' labels")
    elif mean < criteria.mean_balanced_accuracy:
        failings.append(
            f"mean balanced accuracy {mean:.3f}, needed {criteria.mean_balanced_accuracy:.3f}"
        )
    failings += _of_effort(effort, criteria)
    figures = {
        "mean_balanced_accuracy": mean,
        "observations": {name: _figures(each) for name, each in found.items()},
        "unjudged": sorted({*found, *unknown} - set(judged)),
        "reports_per_hour": effort.reports_per_hour,
        "timed_reports": effort.reports,
        "peak_gib": effort.peak_bytes / 2**30,
    }
    return Verdict(not failings, tuple(failings), figures, asdict(criteria))


def _can_be_judged(each: Agreement, criteria: Criteria) -> bool:
    rest = each.n - each.n_present
    return each.n >= criteria.reports and min(each.n_present, rest) >= criteria.positives


def _failings(name: str, each: Agreement, criteria: Criteria) -> Iterator[str]:
    accuracy, error = each.balanced_accuracy, each.calibration_error
    if accuracy.value < criteria.balanced_accuracy:
        yield (
            f"{name}: balanced accuracy {accuracy.value:.3f}, "
            f"needed {criteria.balanced_accuracy:.3f}"
        )
    elif not accuracy.low > 0.5:
        yield f"{name}: the interval of the balanced accuracy reaches down to {accuracy.low:.3f}"
    if error is None:
        yield f"{name}: gives no probabilities"
    elif error > criteria.calibration_error:
        yield (f"{name}: calibration error {error:.3f}, at most {criteria.calibration_error:.3f}")
    total = sum(each.confusion.values())
    if each.n_failed > criteria.failed * total:
        yield f"{name}: {each.n_failed} of {total} labels failed"


def _of_effort(effort: Effort, criteria: Criteria) -> Iterator[str]:
    if effort.reports_per_hour < criteria.reports_per_hour:
        yield (
            f"reads {effort.reports_per_hour:.0f} reports an hour, "
            f"needed {criteria.reports_per_hour:.0f}"
        )
    if effort.peak_bytes > criteria.memory_gib * 2**30:
        peak = effort.peak_bytes / 2**30
        yield f"takes {peak:.1f} GiB of memory, at most {criteria.memory_gib:.1f}"


def _figures(each: Agreement) -> dict[str, Any]:
    def number(value: float | None) -> float | None:
        return None if value is None or value != value else value

    return {
        "n": each.n,
        "present": each.n_present,
        "failed": each.n_failed,
        "balanced_accuracy": number(each.balanced_accuracy.value),
        "low": number(each.balanced_accuracy.low),
        "high": number(each.balanced_accuracy.high),
        "f1": number(each.f1.value),
        "auroc": number(each.auroc.value if each.auroc else None),
        "calibration_error": number(each.calibration_error),
    }
