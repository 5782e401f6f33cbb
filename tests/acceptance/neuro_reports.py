"""Labelers on brain reports, for which no reader's labels are at hand.

    python -m tests.acceptance.neuro_reports [--labelers rules,token_scores] [--count 200]
        [--out FILE.json]

Two looks, and neither says how real reports are read. Generated reports in test phrasings, from
which nothing was learned: AUROC of present, and balanced accuracy by thresholds of other folds, in
the same table as the lumbar notes. And the head and brain messages of a synthetic feed (its authors
had a language model write them; nobody labelled them): how often each labeler finds each category,
and how often two labelers say the same. Where they differ, either may be wrong.

The last line is JSON with the figures.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from sklearn.metrics import cohen_kappa_score

from labeling.decision import decide
from labeling.evaluation.cases import Case, Reference
from labeling.schema_file import shipped_schema
from labeling.settings import LabelingSettings
from labeling.synthesis.generator import generate
from labeling.thresholds import UNCALIBRATED
from labeling.vocabulary import WHOLE, State
from tests.acceptance.lumbar_notes import figures_of, json_of, lines_of
from tests.acceptance.readings import Reader, read_reports, table
from tests.acceptance.scout_feed import FEED, Expected, expected_of

SEED = 2_000_003
_BRAIN = re.compile(r"\b(BRAIN|HEAD)\b", re.IGNORECASE)
_SCHEMA = shipped_schema("neuro")
_FINAL = "F"


def brain_reports(folder: Path = FEED) -> dict[str, str]:
    """Return the text of the last version of each report on head or brain, by accession number."""
    found: dict[str, Expected] = {}
    for each in expected_of(folder):
        if each.is_good and _BRAIN.search(_procedure(each)):
            known = found.get(each.accession)
            if known is None or known.status != _FINAL or each.status == _FINAL:
                found[each.accession] = each
    return {name: "\n".join(each.text) for name, each in sorted(found.items())}


def _procedure(message: Expected) -> str:
    for segment in message.raw.decode("utf-8").split("\r"):
        if segment.startswith("OBR|"):
            return "|".join(segment.split("|")[4:5])
    return ""


def on_generated(reader: Reader, options: argparse.Namespace) -> dict[str, Any]:
    """Let a labeler read generated reports; return its figures as ``lumbar_notes`` has them."""
    reports = {r.id: r for r in generate(_SCHEMA, options.count, seed=SEED, split="test")}
    texts = {name: each.text for name, each in reports.items()}
    readings, schema, digests = read_reports(reader, texts, batch=options.batch)
    cases = [
        Case(
            name,
            name,
            reading.results,
            {place: Reference(state) for place, state in reports[name].states.items()},
        )
        for name, reading in readings.items()
    ]
    has_spans = any(each.evidence for case in cases for each in case.results)
    return {
        "labeler": reader.title,
        **digests,
        "seconds_per_report": median(each.seconds for each in readings.values()),
        **figures_of(cases, schema, has_spans, options.resamples),
    }


def on_feed(reader: Reader, texts: Mapping[str, str], batch: int) -> dict[str, dict[str, State]]:
    """Return a labeler's states of whole reports by category and accession number."""
    readings, schema, _ = read_reports(reader, texts, batch=batch)
    found: dict[str, dict[str, State]] = {each.id: {} for each in schema.observations}
    for name, reading in readings.items():
        for each in decide(reading.results, schema, UNCALIBRATED):
            if each.site == WHOLE:
                found[each.observation][name] = each.state
    return found


def feed_lines(said: Mapping[str, Mapping[str, Mapping[str, State]]]) -> Iterator[str]:
    """Yield how often each labeler says present, and what neighbours in the list share."""
    names = list(said)
    rows = []
    for observation in next(iter(said.values())):
        row = [observation]
        row += [str(sum(_is_found(s) for s in said[n][observation].values())) for n in names]
        for one, other in pairwise(names):
            same, kappa = _alike(said[one][observation], said[other][observation])
            row += [f"{same:.2f}", "-" if kappa is None else f"{kappa:.2f}"]
        rows.append(row)
    pairs = [each for one, other in pairwise(names) for each in (f"{one} = {other}", "kappa")]
    yield from table(["found by", *names, *pairs], rows)


def _is_found(state: State) -> bool:
    return state is State.PRESENT


def _alike(one: Mapping[str, State], other: Mapping[str, State]) -> tuple[float, float | None]:
    """Return the share of reports that two labelers call present or not alike, and kappa."""
    first = [_is_found(one[name]) for name in one]
    second = [_is_found(other[name]) for name in one]
    same = sum(a is b for a, b in zip(first, second, strict=True)) / len(first)
    if len(set(first)) == len(set(second)) == 1:
        return same, None  # nobody varies: chance cannot be told from agreement
    return same, float(cohen_kappa_score(first, second))


def reader_of(labeler: str, options: argparse.Namespace, *, evidence: bool) -> Reader:
    """Return a labeler with the settings that it reads under."""
    settings = LabelingSettings.model_validate(
        {
            "schema_name": "neuro",
            "labelers": tuple(options.labelers),
            "language_model": {"dtype": options.dtype, "batch_reports": options.batch},
        }
    )
    return Reader(labeler, labeler, settings, evidence=evidence)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the labelers that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--labelers", default="rules,token_scores", type=lambda n: n.split(","))
    parser.add_argument("--count", type=int, default=200, help="of generated reports")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    options = parser.parse_args(arguments)
    texts = brain_reports()
    if not texts:
        parser.error(f"no head or brain report under {FEED}: RADLOOP_SHARED names its folder")
    measured = [
        on_generated(reader_of(n, options, evidence=False), options) for n in options.labelers
    ]
    print(f"{options.count} generated reports in test phrasings, not real ones:")
    print("\n".join(lines_of(measured)), flush=True)
    said = {
        n: on_feed(reader_of(n, options, evidence=True), texts, options.batch)
        for n in options.labelers
    }
    print(f"{len(texts)} head and brain reports of a synthetic feed, labelled by nobody; present:")
    print("\n".join(feed_lines(said)))
    line = json.dumps(
        {
            "generated": [json_of(each) for each in measured],
            "feed": {
                "reports": len(texts),
                "present": {
                    name: {o: sum(map(_is_found, s.values())) for o, s in found.items()}
                    for name, found in said.items()
                },
            },
            "real_labelled_reports": 0,
        }
    )
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
