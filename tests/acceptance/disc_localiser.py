"""A disc localiser on freshly drawn spines and on real slices.

    python -m tests.acceptance.disc_localiser [--localiser disc_chain] [--spines 2]
        [--patients N] [--half report|development] [--out FILE.json]

Simulated spines: every scanner in T1 and T2, whole and in the cuts and anatomies of
``disc_phantoms.KINDS``, from a seed that development never drew. Real slices: SPIDER, T1 and T2
(``spider_slices``: spacing is an estimate, places come from the disc crops). The localiser was
developed on one half of the patients (by a hash of their number); the other half is reported
unless asked otherwise. All are of the training part that is shared. No grading is looked at.

Right: all five centres lie within 15 mm of the disc of their name (another disc is about twice as
far away). Wrong and confident: an answer that is not right. Simulated spines that end above L5-S1
and slices that are stored upside down have no right answer but to abstain. Rates have Wilson
intervals, errors bootstrap intervals by spine, both of 95 %. The trade-off lists, for several least
confidences in the numbering, how many are answered and how many of these wrongly.

The last line is JSON with the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from plugin.extensions import load
from plugin.simulation.phantom import SCANNERS
from tests.acceptance.disc_phantoms import KINDS, NO_SACRUM, draw_spine
from tests.acceptance.readings import for_json, table
from tests.acceptance.spider_slices import SpiderSlice, spider_slices
from training.discs import ChainLocaliser, discs_of_slice
from training.localiser import LEVELS, DiscLocaliser, DiscSearch

SEED = 61_803_398
NEAR = 15.0  # mm
PLAUSIBLE = (22.0, 55.0)  # mm from one disc to the next; spacing is an estimate
THRESHOLDS = (0.0, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.98)
_DOUBT = "the discs could not be numbered with certainty"


@dataclass(frozen=True)
class Case:
    """One series: its groups for the tables, and how far from the truth each centre lies.

    ``errors`` in mm is empty without an answer or without a truth; ``known`` tells whether there
    is a truth, ``answerable`` whether the truth allows any answer.
    """

    group: str
    contrast: str
    found: DiscSearch
    errors: tuple[float, ...]
    known: bool
    answerable: bool = True
    ordered: bool = False
    picture: str = ""  # the same for two contrasts of one patient in one matrix
    spacing: tuple[float, float] = (1.0, 1.0)

    def answered(self, least: float) -> bool:
        """Tell whether there is an answer of at least this confidence in the numbering."""
        return bool(self.found.locations) and self.found.numbering >= least

    @property
    def right(self) -> bool:
        """Tell whether every disc was found under its own name."""
        return self.answerable and bool(self.errors) and max(self.errors) < NEAR


def simulated(localiser: DiscLocaliser, spines: int) -> Iterator[Case]:
    """Search ``spines`` fresh spines of each kind on each scanner, thrice as many whole ones."""
    for kind, weighting in product(KINDS, ("T1", "T2")):
        many = spines * len(SCANNERS) * (3 if kind == "whole" else 1)
        for patient in range(many):
            drawn = draw_spine(SEED + KINDS.index(kind), patient, weighting, kind)
            found = localiser.search(drawn.volume)
            one_slice = kind == "one slice"  # whose place beside the spine is not searched
            errors = [
                float(
                    np.linalg.norm(np.subtract(each.centre, drawn.centres[each.level])[one_slice:])
                )
                for each in found.locations
            ]
            group = drawn.scanner if kind == "whole" else kind
            yield Case(group, weighting, found, tuple(errors), True, kind != NO_SACRUM)
        sys.stderr.write(f"{kind}, {weighting}: {many} spines\n")


def real(localiser: DiscLocaliser, development: bool, patients: int | None) -> Iterator[Case]:
    """Search the slices of one half of SPIDER's patients."""
    for each in spider_slices(development=development, limit=patients):
        found = discs_of_slice(each.array, each.spacing, localiser)
        group = "upside down" if each.upside_down else "SPIDER"
        known = each.upside_down or bool(each.places)
        errors = tuple(_errors(each, found)) if each.places else ()
        yield Case(
            group=group,
            contrast=each.contrast,
            found=found,
            errors=errors,
            known=known,
            answerable=not each.upside_down,
            ordered=_ordered(each, found),
            picture=f"{each.patient} {each.array.shape}",
            spacing=each.spacing,
        )


def _errors(each: SpiderSlice, found: DiscSearch) -> Iterator[float]:
    for location in found.locations:
        if location.level in each.places:
            apart = np.subtract(location.voxel[1:], each.places[location.level])
            yield float(np.hypot(*(apart * each.spacing)))


def _ordered(each: SpiderSlice, found: DiscSearch) -> bool:
    """Tell whether five discs or more follow each other downwards at plausible distances."""
    places = [np.multiply(location.voxel[1:], each.spacing) for location in found.locations]
    steps = [lower - upper for upper, lower in pairwise(places)]
    low, high = PLAUSIBLE
    return len(places) >= len(LEVELS) and all(
        step[0] > 0 and low < float(np.hypot(*step)) < high for step in steps
    )


def figures(cases: Sequence[Case], least: float) -> dict[str, Any]:
    """Return counts, rates with intervals and errors in mm of some cases."""
    answered = [c for c in cases if c.answered(least)]
    known = [c for c in cases if c.known]
    allowed = [c for c in known if c.answerable]
    sure = [c for c in answered if c.known]
    right = [c for c in sure if c.right]
    reasons = Counter(c.found.reason or _DOUBT for c in cases if not c.answered(least))
    return {
        "series": len(cases),
        "answered": _rate(len(answered), len(cases)),
        "ordered": _rate(sum(c.ordered for c in answered), len(cases)),
        "with_truth": len(known),
        "right": _rate(len(right), len(allowed)),
        "wrong_and_confident": _rate(len(sure) - len(right), len(known)),
        "right_of_answered": _rate(len(right), len(sure)),
        "abstained_with_truth": _rate(len(known) - len(sure), len(known)),
        "error_median": _error([c.errors for c in right], 50),
        "error_p95": _error([c.errors for c in right], 95),
        "abstained": dict(reasons.most_common()),
    }


def _rate(count: int, of: int) -> dict[str, float | int]:
    if not of:
        return {
            "count": 0,
            "of": 0,
            "rate": float("nan"),
            "low": float("nan"),
            "high": float("nan"),
        }
    bounds = binomtest(count, of).proportion_ci(method="wilson")
    return {
        "count": count,
        "of": of,
        "rate": count / of,
        "low": float(bounds.low),
        "high": float(bounds.high),
    }


def _error(errors: Sequence[tuple[float, ...]], percentile: float) -> dict[str, float]:
    """Return a percentile of the errors of right answers with its interval by spine, in mm."""
    if not errors:
        return {"mm": float("nan"), "low": float("nan"), "high": float("nan")}
    rng = np.random.default_rng(0)
    drawn = [
        np.percentile(
            np.concatenate([errors[i] for i in rng.integers(len(errors), size=len(errors))]),
            percentile,
        )
        for _ in range(1000)
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {
        "mm": float(np.percentile(np.concatenate(errors), percentile)),
        "low": float(low),
        "high": float(high),
    }


def trade_off(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return coverage and wrong answers for each least confidence in the numbering."""
    known = [c for c in cases if c.known]
    rows = []
    for least in THRESHOLDS:
        sure = [c for c in known if c.answered(least)]
        wrong = sum(not c.right for c in sure)
        rows.append(
            {
                "least_numbering": least,
                "answered": _rate(len(sure), len(known)),
                "wrong_of_answered": _rate(wrong, len(sure)),
            }
        )
    return rows


def agreement(cases: Sequence[Case], least: float) -> dict[str, float | int]:
    """Return how often T1 and T2 of one matrix, both answered, name the same discs alike.

    Needs no truth: where the two differ, at least one is wrong.
    """
    first: dict[str, Case] = {}
    pairs = []
    for case in cases:
        if case.answered(least):
            other = first.setdefault(case.picture, case)
            if other.contrast != case.contrast:
                pairs.append((other, case))
    return _rate(sum(_agree(one, other) for one, other in pairs), len(pairs))


def _agree(one: Case, other: Case) -> bool:
    places = [
        np.asarray([each.voxel[1:] for each in case.found.locations]) for case in (one, other)
    ]
    apart = (places[0] - places[1]) * one.spacing
    return bool(np.hypot(apart[:, 0], apart[:, 1]).max() < NEAR)


def lines_of(groups: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the table of some groups' figures."""
    header = ("series of", "n", "answered", "right order", "truth", "right", "wrong and confident")
    header = (*header, "median mm", "p95 mm")
    rows = (
        (
            name,
            str(f["series"]),
            _percent(f["answered"]),
            _percent(f["ordered"]) if name.startswith("SPIDER") else "-",
            str(f["with_truth"]),
            _percent(f["right"]),
            _percent(f["wrong_and_confident"]),
            _mm(f["error_median"]),
            _mm(f["error_p95"]),
        )
        for name, f in groups.items()
    )
    yield from table(header, rows)
    for name, f in groups.items():
        for reason, count in f["abstained"].items():
            yield f"{name}: abstained {count} times: {reason}"


def _percent(rate: dict[str, Any]) -> str:
    if not rate["of"]:
        return "-"
    return f"{rate['rate']:.0%} [{rate['low']:.0%}, {rate['high']:.0%}]"


def _mm(error: dict[str, float]) -> str:
    if error["mm"] != error["mm"]:
        return "-"
    return f"{error['mm']:.1f} [{error['low']:.1f}, {error['high']:.1f}]"


def _grouped(cases: Sequence[Case], least: float) -> dict[str, dict[str, Any]]:
    keys = dict.fromkeys((c.group, c.contrast) for c in cases)
    return {
        f"{group} {contrast}": figures(
            [c for c in cases if (c.group, c.contrast) == (group, contrast)], least
        )
        for group, contrast in keys
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables and, last, one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--localiser", default="disc_chain")
    parser.add_argument("--spines", type=int, default=2, help="of each kind on each scanner")
    parser.add_argument("--patients", type=int, help="of SPIDER; all of the half unless given")
    parser.add_argument("--half", choices=("report", "development"), default="report")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    shipped: DiscLocaliser = load("disc_localisers", options.localiser)
    localiser, least = shipped, 0.0
    if isinstance(shipped, ChainLocaliser):  # searched without its threshold, for the trade-off
        localiser, least = ChainLocaliser(least_numbering=0.0), shipped.least_numbering
    parts = {
        "simulated": list(simulated(localiser, options.spines)) if options.spines else [],
        "real": list(real(localiser, options.half == "development", options.patients)),
    }
    result: dict[str, Any] = {
        "localiser": shipped.name,
        "digest": shipped.digest,
        "least_numbering": least,
        "half": options.half,
    }
    for part, cases in parts.items():
        if not cases:
            continue
        groups = {**_grouped(cases, least), "all": figures(cases, least)}
        curve = trade_off(cases)
        result[part] = {"groups": groups, "trade_off": curve}
        print("\n".join((f"{part}:", *lines_of(groups))))
        if part == "real":
            result[part]["t1_t2_agree"] = agreement(cases, least)
            print(f"T1 and T2 of one matrix agree: {_percent(result[part]['t1_t2_agree'])}")
        for row in curve:
            print(
                f"numbering >= {row['least_numbering']:.2f}: answered {_percent(row['answered'])},"
                f" of these wrong {_percent(row['wrong_of_answered'])}"
            )
    line = json.dumps(for_json(result))
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
