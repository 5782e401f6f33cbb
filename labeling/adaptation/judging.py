"""How well a model answers about generated reports in phrasings that it did not learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from labeling.adaptation.lessons import MENTIONED, PRESENT, Truth
from labeling.adaptation.rows import Row, read, side_by_side
from labeling.llm.network import Network
from labeling.synthesis.generated import Place
from labeling.vocabulary import WHOLE, State

_KINDS = {State.PRESENT: "present", State.UNCERTAIN: "uncertain"}
_ORDER = ("rest", "uncertain", "present")
_FEWEST = 5  # of a kind, below which nothing tells where it lies
_SHARES = np.linspace(0.0, 1.0, 201)

Floats = NDArray[np.float64]
Margins = dict[tuple[Place, str], float]
"""By place and kind of question: log-odds of the first answer against the second."""


def margins(network: Network, rows: Sequence[Row], tokens: int) -> list[Margins]:
    """Return for each row, in order, the margins of its yes/no questions; nothing learns."""
    found: dict[int, Margins] = {}
    with torch.no_grad():
        for group in side_by_side(rows, tokens):
            answers = iter(read(network, group))
            for row in group:
                given = [(lesson, next(answers)) for lesson in row.lessons]
                found[id(row)] = {
                    (lesson.place, lesson.kind): float(scores[0] - scores[1])
                    for lesson, scores in given
                    if len(scores) == 2
                }
    return [found[id(row)] for row in rows]


def judge(network: Network, known: Sequence[tuple[Truth, Row]], tokens: int) -> dict[str, Any]:
    """Return figures by observation, and their means, from the questions of some rows.

    The questions about a report may stand in several rows.

    ``whole`` and ``sites`` are AUROC of present against the rest, uncertain left out;
    ``balanced`` is balanced accuracy at margin 0, whole; ``mentioned`` is AUROC of that question,
    whole; ``uncertain`` is the mean margin of uncertain findings. ``band`` is from where to where
    margins mean uncertain, of all observations together, whole and at sites; where nothing tells,
    it is missing.
    """
    found = margins(network, [row for _, row in known], tokens)
    sorted_out: dict[str, dict[str, list[tuple[State, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for (truth, _), given in zip(known, found, strict=True):
        for (place, kind), value in given.items():
            where = "whole" if place[1] == WHOLE else "sites"
            sorted_out[place[0]][f"{kind} {where}"].append((truth.states[place], value))
    figures = {name: _figures(kinds) for name, kinds in sorted_out.items()}
    return {
        "reports": len({id(truth) for truth, _ in known}),
        "mean": _mean(figures.values()),
        "band": bands(sorted_out.values()),
        "observations": figures,
    }


def _figures(kinds: dict[str, list[tuple[State, float]]]) -> dict[str, float | None]:
    whole = [each for each in kinds[f"{PRESENT} whole"] if each[0] is not State.UNCERTAIN]
    sites = [each for each in kinds[f"{PRESENT} sites"] if each[0] is not State.UNCERTAIN]
    doubted = [value for state, value in kinds[f"{PRESENT} whole"] if state is State.UNCERTAIN]
    mentioned = kinds[f"{MENTIONED} whole"]
    return {
        "whole": _auroc([s is State.PRESENT for s, _ in whole], [v for _, v in whole]),
        "sites": _auroc([s is State.PRESENT for s, _ in sites], [v for _, v in sites]),
        "balanced": _balanced([s is State.PRESENT for s, _ in whole], [v for _, v in whole]),
        "mentioned": _auroc(
            [s is not State.NOT_MENTIONED for s, _ in mentioned], [v for _, v in mentioned]
        ),
        "uncertain": round(float(np.mean(doubted)), 3) if doubted else None,
    }


def bands(
    observations: Iterable[Mapping[str, list[tuple[State, float]]]],
) -> dict[str, list[float]]:
    """Return from which margin to which presence is uncertain, whole and at sites.

    It is the band with the best mean F1 of present, uncertain and the rest: by recall alone, much
    that is absent would be doubted for the few findings that are.
    """
    every = list(observations)
    found: dict[str, list[float]] = {}
    for where in ("whole", "sites"):
        given = [each for kinds in every for each in kinds.get(f"{PRESENT} {where}", ())]
        by_state: dict[str, list[float]] = defaultdict(list)
        for state, value in given:
            by_state[_KINDS.get(state, "rest")].append(value)
        if min(len(by_state[kind]) for kind in ("present", "uncertain", "rest")) >= _FEWEST:
            found[where] = _band(*(np.sort(by_state[kind]) for kind in _ORDER))
    return found


def _band(rest: Floats, uncertain: Floats, present: Floats) -> list[float]:
    """Return low and high end; each kind's margins come sorted."""
    edges = np.unique(np.concatenate([np.quantile(k, _SHARES) for k in (rest, uncertain, present)]))
    counts = np.array([len(rest), len(uncertain), len(present)])
    # So many of each kind lie above each edge: [kinds, edges].
    above = np.array(
        [len(k) - np.searchsorted(k, edges, "right") for k in (rest, uncertain, present)]
    )
    below = counts[:, None] - above
    said_rest, said_present = below.sum(axis=0)[:, None], above.sum(axis=0)[None, :]
    said_uncertain = counts.sum() - said_rest - said_present  # [low ends, high ends]
    right_uncertain = above[1][:, None] - above[1][None, :]
    f1 = (
        2 * below[0][:, None] / (said_rest + counts[0])
        + 2 * right_uncertain / np.maximum(said_uncertain + counts[1], 1)
        + 2 * above[2][None, :] / (said_present + counts[2])
    )
    f1[np.tril_indices(len(edges), -1)] = -np.inf  # the low end may not lie above the high one
    low, high = np.unravel_index(int(np.argmax(f1)), f1.shape)
    return [round(float(edges[low]), 3), round(float(edges[high]), 3)]


def _auroc(positive: Sequence[bool], values: Sequence[float]) -> float | None:
    both = 0 < sum(positive) < len(positive)
    return round(float(roc_auc_score(positive, values)), 4) if both else None


def _balanced(positive: Sequence[bool], values: Sequence[float]) -> float | None:
    both = 0 < sum(positive) < len(positive)
    said = [value > 0 for value in values]
    return round(float(balanced_accuracy_score(positive, said)), 4) if both else None


def _mean(figures: Iterable[dict[str, float | None]]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for each in figures:
        for name, value in each.items():
            if value is not None:
                values[name].append(value)
    return {name: round(float(np.mean(each)), 4) for name, each in values.items()}
