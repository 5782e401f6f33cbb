"""Reports and labels per second of the labelers, beside the plain loop on the same model.

    python -m tests.benchmarks.labeling [--rounds 5] [--threads 2]

``rules`` needs no model. ``token_scores`` reads a report once and asks all its questions side by
side; ``plain loop`` asks the same questions of the same model one by one, each with the whole
prompt again, as the published code does. Rounds are interleaved; each round takes one new
simulated report for both. Only the ratios mean something on a shared machine. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from labeling.llm.model_store import EMBEDDED_NAME
from labeling.llm.transformers_model import LanguageModel
from labeling.rules.labeler import RuleLabeler
from labeling.schema_file import shipped_schema
from labeling.token_scores.labeler import TokenScoreLabeler
from labeling.token_scores.prompt import Prompt, build_prompt, report_for_prompt
from plugin.simulation.reports import Habits, write_report
from plugin.simulation.truth import draw_truth
from tests.labeling_builders import rules_of, setup_of

SCHEMA = shipped_schema("spine")
RULES_PER_ROUND = 50


def _reports(number: int) -> list[str]:
    rng = np.random.default_rng(7)
    habits = Habits(brief_rate=0.0)
    return [write_report(draw_truth(rng), rng, habits=habits).text for _ in range(number)]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _round(
    index: int, texts: list[str], rules: RuleLabeler, model: LanguageModel, prompt: Prompt
) -> dict[str, float]:
    """Return reports per second of each way; the order alternates between rounds."""
    report = report_for_prompt(texts[index], model.markers)
    some = texts[-RULES_PER_ROUND:]
    ways: dict[str, Callable[[], object]] = {
        "rules": lambda: [rules.label_report(text) for text in some],
        "token_scores": lambda: model.score(prompt, report),
        "plain loop": lambda: model.score_one_by_one(prompt, report),
    }
    names = list(ways) if index % 2 == 0 else list(reversed(ways))
    rates = {name: 1 / _seconds(ways[name]) for name in names}
    rates["rules"] *= len(some)
    return rates


def measure(rounds: int, threads: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return reports per second of each way by round, and what was read."""
    texts = _reports(rounds + 1 + RULES_PER_ROUND)
    prompt = build_prompt(SCHEMA)
    with tempfile.TemporaryDirectory() as folder:
        labeler = TokenScoreLabeler(
            setup_of(SCHEMA, store=Path(folder), language_model={"threads": threads})
        )
        loading = _seconds(labeler.load)
        model = labeler.load()
    model.score(prompt, report_for_prompt(texts[rounds], model.markers))  # warm up
    rules = rules_of(SCHEMA)
    rates: dict[str, list[float]] = {"rules": [], "token_scores": [], "plain loop": []}
    for index in range(rounds):
        for name, rate in _round(index, texts, rules, model, prompt).items():
            rates[name].append(rate)
    tokens = [model.count_tokens(report_for_prompt(t, model.markers)) for t in texts[:rounds]]
    return rates, {"loading_seconds": loading, "report_tokens": statistics.mean(tokens)}


def main() -> None:
    """Measure, print a table, and the ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    rates, facts = measure(options.rounds, options.threads)
    labels = sum(len(stem.questions) for stem in build_prompt(SCHEMA).stems)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(f"{EMBEDDED_NAME}, {options.threads} threads, loaded in {facts['loading_seconds']:.1f} s")
    print(f"{labels} labels a report, {facts['report_tokens']:.0f} tokens a report on average")
    print(
        f"{'labeler':14}{'reports/s':>11}{'lowest':>9}{'highest':>9}{'labels/s':>10}{'x loop':>9}"
    )
    for name, found in rates.items():
        ratio = medians[name] / medians["plain loop"]
        print(
            f"{name:14}{medians[name]:11.3f}{min(found):9.3f}{max(found):9.3f}"
            f"{medians[name] * labels:10.1f}{ratio:9.1f}"
        )
    paired = zip(rates["token_scores"], rates["plain loop"], strict=True)
    result = {
        "benchmark": "labeling",
        "model": EMBEDDED_NAME,
        "rounds": options.rounds,
        "threads": options.threads,
        "labels_per_report": labels,
        "report_tokens": round(facts["report_tokens"], 1),
        "loading_seconds": round(facts["loading_seconds"], 1),
        "reports_per_second": {name: round(value, 4) for name, value in medians.items()},
        "labels_per_second": {name: round(value * labels, 2) for name, value in medians.items()},
        "ratios": {
            "token_scores / plain loop": round(statistics.median(a / b for a, b in paired), 2)
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
