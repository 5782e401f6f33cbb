"""Reports and tokens per second of the labeler ``token_scores``, beside the plain published loop.

    python -m tests.benchmarks.labeling [--model PATH] [--dtype auto] [--reports 4] [--rounds 5]
        [--steps one-step,two-step,learned]
    python -m tests.benchmarks.labeling --student

Both ask the same model, with the same weights, the same questions about the same new reports.
``plain`` does it as the published code does: report by report, the whole prompt again for each
question, one text generated after another. ``shared`` reads a report once for all its questions
and writes all summaries of several reports at once. ``one-step`` asks at once whether a report
states each condition; ``two-step`` lets the model first write a summary aimed at each. ``learned``
asks as an adapted model is asked (an adapter changes the weights, not the work): in its words, at
each level that a report names, and whether it is mentioned. Rounds are interleaved, and the order
alternates; only the ratios within a round mean something on a shared machine. The answers of both
ways are compared, too. ``tokens/s`` counts the tokens of the prompts that were answered and of the
summaries that were written, so it says how much work of the plain loop is done in a second. The
last line is JSON. ``--student`` measures the student instead (``tests.benchmarks.student``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from labeling.labeler import LabelResult
from labeling.llm.interface import Generated, GenerateRequest, Reading, ScoreRequest, Scores
from labeling.llm.model_store import EMBEDDED_NAME, ModelStore
from labeling.llm.opening import stored_model
from labeling.llm.transformers_model import TransformersModel
from labeling.schema_file import narrowed, shipped_schema
from labeling.settings import LanguageModelSettings
from labeling.synthesis.generator import generate
from labeling.token_scores.labeler import TokenScoreLabeler
from tests.benchmarks import student
from tests.labeling_builders import rules_of, setup_of

CONDITIONS = (
    "stenosis", "herniation", "spondylolisthesis", "cauda_equina_compression", "cancer",
)  # fmt: skip
SCHEMA = narrowed(shipped_schema("spine"), CONDITIONS)
LEARNED = "learned"
STEPS = ("one-step", "two-step", LEARNED)
RULES_PER_ROUND = 50


@dataclass
class Counted:
    """A language model that counts the tokens which the plain loop reads and writes for it."""

    model: TransformersModel
    tokens: int = 0

    def __post_init__(self) -> None:
        self.name, self.digest = self.model.name, self.model.digest
        self.markers = self.model.markers

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return self.model.count_tokens(text)

    def fits(self, reading: Reading) -> bool:
        """Tell whether the model can read this."""
        return self.model.fits(reading)

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[list[Scores]]]:
        """Score, and count each question's whole prompt."""
        self.tokens += sum(self._prompts(r) for r in requests)
        return self.model.score(requests)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Generated]]:
        """Generate, and count each text's whole prompt and what was written."""
        found = self.model.generate(requests)
        for request, texts in zip(requests, found, strict=True):
            for ask, text in zip(request.asks, texts, strict=True):
                self.tokens += self._prompt(request.reading, ask.turns) + len(text.steps)
        return found

    def _prompts(self, request: ScoreRequest) -> int:
        return sum(
            self._prompt(request.reading, stem.turns) + self.count_tokens(question.text)
            for stem in request.stems
            for question in stem.questions
        )

    def _prompt(self, reading: Reading, turns: Sequence[str]) -> int:
        chat = self.model.chat
        closing = chat.closing(reading, len(turns))
        return len(chat.prefix(reading)) + len(chat.turns(reading, turns)) + len(closing)


@dataclass
class Way:
    """One way of labelling, and what was measured of it by round."""

    labeler: TokenScoreLabeler
    model: Counted
    reports: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)

    def label(self, texts: Sequence[str]) -> list[list[LabelResult]]:
        """Label, and note reports and tokens per second."""
        before = self.model.tokens
        started = time.perf_counter()
        results = list(self.labeler.label_reports(texts))
        seconds = time.perf_counter() - started
        self.reports.append(len(texts) / seconds)
        self.tokens.append((self.model.tokens - before) / seconds)
        return results


def simulated_reports(number: int) -> list[str]:
    """Return full generated reports; the generator is seeded."""
    drawn = generate(shipped_schema("spine"), 6 * number + 30, seed=7, split="test")
    return [each.text for each in islice((r for r in drawn if r.style == "clinical"), number)]


def loaded(options: argparse.Namespace) -> TransformersModel:
    """Load the model that is named, or the embedded one."""
    with tempfile.TemporaryDirectory() as folder:
        path, name = options.model, options.model.stem if options.model else EMBEDDED_NAME
        if path is None:
            path = stored_model(LanguageModelSettings(), ModelStore(Path(folder))).path
        return TransformersModel.load(
            path,
            name=name,
            threads=options.threads,
            dtype=options.dtype,
            side_by_side=options.reports,
        )


def ways_of(model: TransformersModel, options: argparse.Namespace) -> dict[str, Way]:
    """Return the shared and the plain way of each step."""
    ways = {}
    for step in options.steps:
        for name, used in (("shared", model), ("plain", model.unshared())):
            counted = Counted(used)
            asking = {
                "two_step": step == "two-step",
                "summary_tokens": options.summary_tokens,
                "levels": step == LEARNED,
                "mention": step == LEARNED,
                "evidence": False,
            }
            batch = {"batch_reports": options.reports if name == "shared" else 1}
            setup = setup_of(SCHEMA, token_scores=asking, language_model=batch)
            kind = "token_scores_learned" if step == LEARNED else ""
            ways[f"{name} {step}"] = Way(TokenScoreLabeler(setup, counted, kind), counted)
    return ways


def measure(ways: dict[str, Way], options: argparse.Namespace) -> dict[str, float]:
    """Run the rounds; return the largest difference of a margin between the two ways by step."""
    size = options.reports
    texts = simulated_reports((options.rounds + 1) * size)
    for way in ways.values():
        way.label(texts[-1:])  # warm up
        way.reports.clear()
        way.tokens.clear()
    apart = dict.fromkeys(options.steps, 0.0)
    for number in range(options.rounds):
        some = texts[number * size : (number + 1) * size]
        order = list(ways) if number % 2 == 0 else list(reversed(ways))
        found = {name: ways[name].label(some) for name in order}
        for step in options.steps:
            apart[step] = max(apart[step], _apart(found[f"shared {step}"], found[f"plain {step}"]))
    return apart


def _apart(one: list[list[LabelResult]], other: list[list[LabelResult]]) -> float:
    margins = [
        [r.margin for some in each for r in some if r.margin is not None] for each in (one, other)
    ]
    return max((abs(a - b) for a, b in zip(*margins, strict=True)), default=0.0)


def rules_rate() -> float:
    """Return reports per second of the rule labeler, which needs no model."""
    rules, texts = rules_of(SCHEMA), simulated_reports(RULES_PER_ROUND)
    started = time.perf_counter()
    for _ in rules.label_reports(texts):
        pass
    return len(texts) / (time.perf_counter() - started)


def ratio(ways: dict[str, Way], name: str) -> list[float]:
    """Return reports per second of a way over the plain loop's of the same step, by round."""
    plain = ways[f"plain {name.split()[1]}"].reports
    return [own / other for own, other in zip(ways[name].reports, plain, strict=True)]


def report(ways: dict[str, Way], apart: dict[str, float], options: argparse.Namespace) -> None:
    """Print the table and the line of JSON."""
    print(f"{'way':17}{'reports/s':>11}{'lowest':>9}{'highest':>9}{'tokens/s':>10}{'x plain':>9}")
    for name, way in ways.items():
        times = statistics.median(ratio(ways, name))
        print(
            f"{name:17}{statistics.median(way.reports):11.4f}{min(way.reports):9.4f}"
            f"{max(way.reports):9.4f}{statistics.median(way.tokens):10.1f}{times:9.2f}"
        )
    print(f"rules            {rules_rate():11.1f}")
    shared = [name for name in ways if name.startswith("shared")]
    result = {
        "benchmark": "labeling",
        "model": options.model.name if options.model else EMBEDDED_NAME,
        "dtype": options.dtype,
        "threads": options.threads,
        "rounds": options.rounds,
        "reports_a_round": options.reports,
        "conditions": len(CONDITIONS),
        "summary_tokens": options.summary_tokens,
        "reports_per_second": {n: round(statistics.median(w.reports), 4) for n, w in ways.items()},
        "tokens_per_second": {n: round(statistics.median(w.tokens), 1) for n, w in ways.items()},
        "ratios": {name: [round(each, 2) for each in ratio(ways, name)] for name in shared},
        "median_ratio": {name: round(statistics.median(ratio(ways, name)), 2) for name in shared},
        "largest_margin_difference": {step: round(each, 5) for step, each in apart.items()},
    }
    print(json.dumps(result))


def main() -> None:
    """Measure, print a table, and the ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help=".gguf file or folder; default: the embedded")
    parser.add_argument("--dtype", default="float32", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--reports", type=int, default=4, help="in a round, read side by side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", default=STEPS, type=lambda names: tuple(names.split(",")))
    parser.add_argument("--summary-tokens", type=int, default=64)
    parser.add_argument("--student", action="store_true", help="the student alone; no model")
    options = parser.parse_args()
    if options.student:
        print(json.dumps(student.run(options.rounds, student.REPORTS, options.threads)))
        return
    started = time.perf_counter()
    model = loaded(options)
    print(f"{model.name}, {options.dtype}, loaded in {time.perf_counter() - started:.1f} s")
    ways = ways_of(model, options)
    report(ways, measure(ways, options), options)


if __name__ == "__main__":
    main()
