"""Drift: whether what a model says of the newest studies is distributed as of its first ones.

Two measures stand together. The population stability index says how large a change is (Siddiqi,
Credit Risk Scorecards, 2006, calls 0.25 and more a major one). Whether it is more than chance, a
permutation test says, on the distance of Kolmogorov and Smirnov: whole studies change sides,
because the sites of one study are not independent. Only both make an alarm. No label is needed,
and none is used: a change of the patients looks like a change of the scanner here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labeling.evaluation.resampling import Floats
from training.monitoring.cases import ALL, NOT_STATED, Watched, groups, studies_in_order
from training.settings import MonitorSettings

WATCHED = "watched"
"""The state of a model that has enough studies for both windows."""

_BINS = 10
_PERMUTATIONS = 4999, 19_999  # at least, at most
_ENOUGH = 40  # draws as far apart as what was found: it is chance, and no more are drawn
_CELLS = 2_000_000
_FIRST = 500  # draws, before it is asked whether more are needed
LEAST_OF_A_GROUP = 20  # studies; a scanner with fewer newest ones is not judged
_SPLITS = ("scanner", "site")


@dataclass(frozen=True)
class Windows:
    """The studies of a model: its first ones, and the newest that are not among them."""

    reference: tuple[str, ...]
    newest: tuple[str, ...]


def windows(rows: Sequence[Watched], settings: MonitorSettings) -> Windows | None:
    """Return both windows, or None while there are too few studies for two that do not overlap."""
    order = studies_in_order(rows)
    first, last = settings.reference_studies, settings.newest_studies
    if len(order) < first + last:
        return None
    return Windows(tuple(order[:first]), tuple(order[-last:]))


def drift(rows: Sequence[Watched], settings: MonitorSettings, seed: int = 0) -> dict[str, Any]:
    """Return what has changed between a model's first and its newest studies, JSON-ready.

    Each scanner and each site is compared with the first studies of all of them, so that a machine
    that is new stands out by itself.

    Args:
        rows: all of one model.
        settings: sizes of the windows, and from where on a change is an alarm.
        seed: of the permutations.

    Returns:
        ``state`` ("watched", or how many studies are still missing), ``changes`` by group and
        observation, ``new_scanners`` (in the newest window and not in the reference), ``alarms``
        in sentences.
    """
    found = windows(rows, settings)
    if found is None:
        there = len(studies_in_order(rows))
        needed = settings.reference_studies + settings.newest_studies
        return {
            "state": f"{there} studies, {needed} are needed",
            "changes": [],
            "new_scanners": [],
            "alarms": [],
        }
    known = set(found.reference)
    before = [each for each in rows if each.study in known]
    tests = [
        (split, value, name, new)
        for (split, value), new in _newest(rows, known, settings).items()
        for name in sorted({each.observation for each in rows})
    ]
    # Bonferroni, as far as the draws reach: of a level that they cannot tell there is no alarm.
    level = max(settings.significance / max(1, 2 * len(tests)), 2 / _PERMUTATIONS[1])
    changes = [
        {
            "split": split,
            "value": value,
            "observation": name,
            **_change(_of(before, name), _of(new, name), settings, level, seed),
        }
        for split, value, name, new in tests
    ]
    last = set(found.newest)
    return {
        "state": WATCHED,
        "changes": changes,
        "new_scanners": sorted(
            {each.scanner for each in rows if each.study in last}
            - {each.scanner for each in before}
            - {NOT_STATED}
        ),
        "alarms": [sentence(each) for each in changes if each["alarm"]],
    }


def _newest(
    rows: Sequence[Watched], reference: set[str], settings: MonitorSettings
) -> dict[tuple[str, str], list[Watched]]:
    """Return the newest window of all, and of each scanner and site that has enough studies."""
    later = [each for each in rows if each.study not in reference]
    found = {}
    for (split, value), own in groups(later, _SPLITS).items():
        order = studies_in_order(own)[-settings.newest_studies :]
        if split == ALL or len(order) >= LEAST_OF_A_GROUP:
            last = set(order)
            found[split, value] = [each for each in own if each.study in last]
    return found


def _of(rows: Sequence[Watched], observation: str) -> list[Watched]:
    return [each for each in rows if each.observation == observation]


def _change(
    before: Sequence[Watched],
    after: Sequence[Watched],
    settings: MonitorSettings,
    level: float,
    seed: int,
) -> dict[str, Any]:
    old, new = _side(before), _side(after)
    distance = psi(old["values"], new["values"])
    moved = distance is not None and distance >= settings.minimum_distance
    draws = int(np.clip(2 / level, *_PERMUTATIONS))  # so that p can fall below the level
    chance = _p_value(before, after, _distances, draws, seed) if moved else None
    failing = new["not_evaluated"] - old["not_evaluated"] >= settings.minimum_failures
    failing_chance = _p_value(before, after, _failures, draws, seed) if failing else None
    return {
        "studies_before": old["studies"],
        "studies": new["studies"],
        "mean_before": old["mean"],
        "mean": new["mean"],
        "present_before": old["present"],
        "present": new["present"],
        "not_evaluated_before": old["not_evaluated"],
        "not_evaluated": new["not_evaluated"],
        "psi": distance,
        "ks": ks_distance(old["values"], new["values"]),
        "p": chance,  # of the distribution; computed where the index is large
        "p_not_evaluated": failing_chance,
        "alarm": any(p is not None and p <= level for p in (chance, failing_chance)),
    }


def _side(rows: Sequence[Watched]) -> dict[str, Any]:
    values = np.array([each.probability for each in rows if each.probability is not None])
    called = [
        each.probability >= each.threshold
        for each in rows
        if each.probability is not None and each.threshold is not None
    ]
    return {
        "values": values.astype(np.float64),
        "studies": len({each.study for each in rows}),
        "mean": float(values.mean()) if values.size else None,
        "present": sum(called) / len(called) if called else None,
        "not_evaluated": 1 - values.size / len(rows) if rows else 0.0,
    }


def psi(before: Floats, after: Floats) -> float | None:
    """Return the population stability index of two samples; None where one is empty.

    Bins are tenths of the first sample; half a case is added to each, so that an empty bin has a
    logarithm.
    """
    if not before.size or not after.size:
        return None
    edges = np.unique(np.quantile(before, np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = []
    for values in (before, after):
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=edges.size + 1)
        shares.append((counts + 0.5) / (values.size + 0.5 * counts.size))
    old, new = shares
    return float(((new - old) * np.log(new / old)).sum())


def ks_distance(before: Floats, after: Floats) -> float | None:
    """Return the greatest distance of the two distribution functions; None where one is empty."""
    if not before.size or not after.size:
        return None
    values = np.concatenate([before, after])
    side = np.r_[np.ones(before.size), np.zeros(after.size)]
    return float(_distances(values, side[None, :])[0])


def _distances(values: Floats, sides: Floats) -> Floats:
    """Return the distance for each row of sides (draws, n): 1 before, 0 after."""
    order = np.argsort(values, kind="stable")
    # Between equal values the functions make one step.
    last = np.r_[np.diff(values[order]) > 0, True]
    ordered = sides[:, order]
    old = np.cumsum(ordered, axis=1) / np.maximum(ordered.sum(axis=1, keepdims=True), 1)
    ordered = 1 - ordered
    new = np.cumsum(ordered, axis=1) / np.maximum(ordered.sum(axis=1, keepdims=True), 1)
    distances: Floats = np.abs(old - new)[:, last].max(axis=1)
    return distances


def _failures(values: Floats, sides: Floats) -> Floats:
    """Return by how much more of the later side is not evaluated (NaN); shapes as above."""
    failed = np.isnan(values).astype(np.float64)
    after = 1 - sides
    more = after @ failed / np.maximum(after.sum(axis=1), 1)
    difference: Floats = more - sides @ failed / np.maximum(sides.sum(axis=1), 1)
    return difference


def _p_value(
    before: Sequence[Watched], after: Sequence[Watched], statistic: Any, draws: int, seed: int
) -> float:
    """Return how often chance makes as great a statistic when whole studies change sides.

    Drawing ends early where that has come often enough (Besag and Clifford, "Sequential Monte
    Carlo p-values", Biometrika 1991): such a p is far above any level that is asked for here.
    """
    rows = [*before, *after]
    values = np.array([np.nan if r.probability is None else r.probability for r in rows])
    if statistic is _distances:
        rows = [each for each, value in zip(rows, values, strict=True) if not np.isnan(value)]
        values = values[~np.isnan(values)]
    early = {each.study for each in before}
    numbers = {study: i for i, study in enumerate(dict.fromkeys(each.study for each in rows))}
    study = np.array([numbers[each.study] for each in rows], dtype=np.intp)
    side = np.array([float(each in early) for each in numbers])
    rng = np.random.default_rng(seed)
    least = statistic(values, side[None, study])[0] - 1e-12
    hits = done = 0
    portion = max(1, _CELLS // max(1, values.size))
    while done < draws and hits < _ENOUGH:
        count = min(portion, _FIRST if not done else draws, draws - done)
        drawn = rng.permuted(np.tile(side, (count, 1)), axis=1)
        hits += int((statistic(values, drawn[:, study]) >= least).sum())
        done += count
    return (hits + 1) / (done + 1)


def sentence(change: Mapping[str, Any]) -> str:
    """Return an alarm in words, of one of the ``changes`` of :func:`drift`."""
    where = "" if change["split"] == ALL else f" on {change['split']} {change['value']}"
    said = f"{change['observation']}{where}:"
    if change["p"] is not None and change["mean"] is not None:
        said += (
            f" mean probability {change['mean_before']:.2f} to {change['mean']:.2f}, "
            f"PSI {change['psi']:.2f}, p {change['p']:.4f}"
        )
    if change["p_not_evaluated"] is not None:
        said += (
            f" not evaluated {change['not_evaluated_before']:.0%} to "
            f"{change['not_evaluated']:.0%} of the sites, p {change['p_not_evaluated']:.4f}"
        )
    return said
