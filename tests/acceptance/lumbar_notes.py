"""Labelers on 101 real notes about lumbar spine MRI, beside two careful readers.

    python -m tests.acceptance.lumbar_notes [--labelers rules,student,token_scores]
        [--model PATH.gguf] [--two-step] [--dtype bfloat16] [--limit N] [--out FILE.json]

The references are labels of two careful readers, not of radiologists. The notes are development
data: the only thing taken from them are thresholds, each fitted on other notes than those that it
decides (5-fold cross-validation). What a labeler said is kept (RADLOOP_READINGS), so a run that was
stopped goes on. Prints a table and ends with one line of JSON.

Columns: ``pos`` and ``unc`` are the readers' present and uncertain labels; ``AUROC`` counts only
present as positive and leaves uncertain out, ``AUROC+`` counts both; ``raw`` is balanced accuracy
of the labeler as it comes, with no threshold fitted; ``BA`` to ``spec`` are with cross-validated
thresholds; ``sites`` and ``sites F1`` are over single disc levels; ``quote`` is the share of
found labels whose evidence touches the readers' quote. Below the table stand, for each labeler
after the first, what it has ahead of the first on the same notes, with intervals by patient.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from labeling.evaluation.agreement import Agreement, agreement, judgements
from labeling.evaluation.calibration import FitRule, cross_fitted
from labeling.evaluation.cases import Case, Place, Reference, decided, locate_quote
from labeling.evaluation.comparison import Comparison, compare
from labeling.evaluation.evidence import evidence_overlap
from labeling.evaluation.metrics import Estimate
from labeling.settings import LabelingSettings
from labeling.thresholds import UNCALIBRATED, nowhere
from labeling.vocabulary import WHOLE, LabelSchema, State
from tests.acceptance.readings import (
    Reader,
    Reading,
    for_json,
    number,
    read_reports,
    table,
)
from tests.shared_data import shared_file

CONDITIONS = (
    "stenosis",
    "herniation",
    "spondylolisthesis",
    "cauda_equina_compression",
    "cancer",
)
WHOSE = "references: two careful readers, not radiologists; thresholds: 5-fold cross-validation"
_FOLDER = "data/sudirman_lumbar_notes"

Ahead = dict[str, dict[str, Comparison]]
"""By labeler and condition."""


def notes() -> dict[str, str]:
    """Return the labelled notes by patient."""
    labelled = set(references())
    with shared_file(f"{_FOLDER}/notes.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["pid"]: row["note"] for row in csv.DictReader(file)}
    return {pid: text for pid, text in rows.items() if pid in labelled}


def references() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the readers' labels by patient and condition."""
    lines = shared_file(f"{_FOLDER}/labels.jsonl").read_text(encoding="utf-8").splitlines()
    return {str(row["pid"]): row["labels"] for row in map(json.loads, lines)}


def reference_places(
    labels: Mapping[str, Mapping[str, Any]], text: str, schema: LabelSchema
) -> dict[Place, Reference]:
    """Return what the readers say of a note, whole and at each disc level.

    Levels are named only where a condition is present; elsewhere no level has it. Where it is
    present without a level, or uncertain, the single levels are not judged.
    """
    places: dict[Place, Reference] = {}
    for observation in schema.observations:
        given = labels[observation.id]
        state = State(given["state"])
        quotes = locate_quote(text, given.get("quote", ""))
        places[observation.id, WHOLE] = Reference(state, quotes=quotes)
        levels = set(given.get("levels", ())) & set(observation.sites)
        if state is State.UNCERTAIN or (state is State.PRESENT and not levels):
            continue
        for site in set(observation.sites) - set(given.get("levels_disputed", ())):
            there = State.PRESENT if site in levels else State.NOT_MENTIONED
            places[observation.id, site] = Reference(there)
    return places


def cases_of(
    readings: Mapping[str, Reading], texts: Mapping[str, str], schema: LabelSchema
) -> list[Case]:
    """Return the notes with what a labeler and the readers say."""
    given = references()
    cases = []
    for pid, reading in readings.items():
        places = reference_places(given[pid], texts[pid], schema)
        cases.append(Case(pid, pid, reading.results, places))
    return cases


def settings_of(options: argparse.Namespace) -> LabelingSettings:
    """Return the settings that the labelers read under."""
    return LabelingSettings.model_validate(
        {
            "schema_name": "spine",
            "observations": CONDITIONS,
            "labelers": tuple(options.labelers),
            "language_model": {
                "dtype": options.dtype,
                "adapter": options.adapter,
                "batch_reports": options.batch,
                "threads": options.threads,
                "backend": options.backend,
                "url": options.url,
            },
            "token_scores": {
                "two_step": options.two_step,
                "summary_tokens": options.summary_tokens,
                "levels": options.levels,
                "mention": options.mention,
            },
        }
    )


def measure(reader: Reader, options: argparse.Namespace) -> dict[str, Any]:
    """Let one labeler read the notes and return its figures."""
    texts = dict(list(notes().items())[: options.limit])
    readings, schema, digests = read_reports(reader, texts, batch=options.batch)
    has_spans = reader.labeler != "token_scores" or options.evidence
    return {
        "labeler": reader.title,
        **digests,
        "seconds_per_report": median(each.seconds for each in readings.values()),
        "failed_reports": sum(_failed(each.results) for each in readings.values()),
        **figures_of(cases_of(readings, texts, schema), schema, has_spans, options.resamples),
    }


def figures_of(
    cases: Sequence[Case], schema: LabelSchema, has_spans: bool, resamples: int
) -> dict[str, Any]:
    """Return how cases agree with their references, by thresholds of other folds.

    Args:
        cases: as a labeler measured them, with references.
        schema: of the labels.
        has_spans: whether it looked for evidence.
        resamples: of the bootstrap.
    """
    sought = UNCALIBRATED if has_spans else nowhere(schema)
    judged = cross_fitted(cases, schema, rule=FitRule(resamples=0), sought=sought)
    as_it_comes = decided(cases, schema, UNCALIBRATED, sought=sought)
    raw = agreement(judgements(as_it_comes), resamples=0)
    return {
        "reports": len(cases),
        "whole": agreement(judgements(judged), resamples=resamples),
        "raw": {name: each.balanced_accuracy.value for name, each in raw.items()},
        "judged": list(judgements(judged)),
        "sites": agreement(judgements(judged, at_sites=True), resamples=resamples),
        "quotes": evidence_overlap(judged) if has_spans else {},
    }


def _failed(results: Sequence[Any]) -> bool:
    return all(each.state is State.FAILED for each in results)


def lines_of(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table."""
    rows = []
    for each in found:
        for name, whole in each["whole"].items():
            sites, quotes = each["sites"].get(name), each["quotes"].get(name)
            rows.append(
                [
                    each["labeler"],
                    name,
                    str(whole.n_present),
                    str(whole.n_uncertain_reference),
                    _interval(whole.auroc),
                    number(whole.auroc_possible.value if whole.auroc_possible else None),
                    number(each["raw"][name]),
                    _interval(whole.balanced_accuracy),
                    number(whole.f1.value),
                    number(whole.sensitivity.value),
                    number(whole.specificity.value),
                    number(sites.balanced_accuracy.value if sites else None),
                    number(sites.f1.value if sites else None),
                    number(quotes.touched if quotes else None, 2),
                    number(each["seconds_per_report"]),
                ]
            )
    header = (
        "labeler|condition|pos|unc|AUROC|AUROC+|raw|BA|F1|sens|spec|sites|sites F1|quote|s/report"
    )
    yield from table(header.split("|"), rows)


def mean_of(found: Mapping[str, Any]) -> float:
    """Return the mean balanced accuracy over the conditions that some note has and some has not."""
    values = [each.balanced_accuracy.value for each in found["whole"].values()]
    return fmean(value for value in values if value == value)


def ahead_of(found: Sequence[Mapping[str, Any]]) -> Ahead:
    """Return what each labeler after the first has ahead of that, note by note."""
    first = found[0]["judged"]
    return {each["labeler"]: compare(each["judged"], first) for each in found[1:]}


def compared_lines(found: Sequence[Mapping[str, Any]], ahead: Ahead) -> Iterator[str]:
    """Yield mean balanced accuracies, and the lines of the paired comparison with the first."""
    for each in found:
        yield f"{each['labeler']}: mean balanced accuracy {number(mean_of(each))}"
    rows = [
        [labeler, name, *(_signed(paired.differences.get(key)) for key in _PAIRED)]
        for labeler, conditions in ahead.items()
        for name, paired in conditions.items()
        if paired.n_present
    ]
    if rows:
        yield from table([f"ahead of {found[0]['labeler']}", "condition", *_PAIRED], rows)


_PAIRED = ("auroc", "balanced_accuracy", "f1")


def _signed(given: Estimate | None) -> str:
    if given is None or given.value != given.value:
        return "-"
    return f"{given.value:+.3f} ({given.low:+.2f} to {given.high:+.2f})"


def _interval(given: Estimate | None) -> str:
    if given is None or given.value != given.value:
        return "-"
    return f"{given.value:.3f} ({number(given.low, 2)}-{number(given.high, 2)})"


def json_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return one labeler's figures as values of JSON."""
    tables = {name: dict(map(_row, found[name].items())) for name in ("whole", "sites")}
    quotes = {name: vars(each) for name, each in found["quotes"].items()}
    kept = {name: value for name, value in found.items() if name != "judged"}
    mean = mean_of(found)
    done: dict[str, Any] = for_json(
        {**kept, **tables, "quotes": quotes, "mean_balanced_accuracy": mean}
    )
    return done


def paired_json(conditions: Mapping[str, Comparison]) -> dict[str, Any]:
    """Return a labeler's paired comparison as values of JSON."""
    done: dict[str, Any] = for_json(
        {
            name: {
                "n": paired.n,
                "n_present": paired.n_present,
                "p_auroc": paired.p_auroc,
                **{key: vars(value) for key, value in paired.differences.items()},
            }
            for name, paired in conditions.items()
        }
    )
    return done


def _row(item: tuple[str, Agreement]) -> tuple[str, dict[str, Any]]:
    name, each = item
    confusion = {f"{want}->{said}": count for (want, said), count in each.confusion.items()}
    row = {key: value for key, value in vars(each).items() if key != "curve"}
    estimates = {key: vars(value) for key, value in row.items() if isinstance(value, Estimate)}
    return name, {**row, **estimates, "confusion": confusion}


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--labelers", default="rules", type=lambda names: names.split(","))
    parser.add_argument("--model", type=Path, help="a GGUF file or folder; default: SmolLM2")
    parser.add_argument("--adapter", default="auto", help="of the model; none: as it comes")
    parser.add_argument("--two-step", action="store_true")
    parser.add_argument("--summary-tokens", type=int, default=64)
    parser.add_argument("--no-levels", dest="levels", action="store_false")
    parser.add_argument("--no-mention", dest="mention", action="store_false")
    parser.add_argument("--evidence", action="store_true", help="find spans, too (slower)")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--backend", default="transformers")
    parser.add_argument("--url", default="", help="of a model server, with --backend server")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    return parser.parse_args(arguments)


def title_of(labeler: str, options: argparse.Namespace) -> str:
    """Return how the table names a labeler."""
    if labeler not in {"token_scores", "template", "tree"}:
        return labeler
    model = options.model.stem if options.model else "smollm2"
    two_step = "two-step" if labeler == "token_scores" and options.two_step else ""
    bare = "no adapter" if options.adapter == "none" else ""
    return " ".join(filter(None, (labeler, model, two_step, bare)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the labelers that the command line names."""
    options = options_of(arguments)
    settings = settings_of(options)
    found = []
    for labeler in options.labelers:
        reader = Reader(
            title_of(labeler, options), labeler, settings, options.model, options.evidence
        )
        found.append(measure(reader, options))
        print("\n".join(lines_of(found[-1:])), flush=True)
    print()
    print(WHOSE)
    print("\n".join(lines_of(found)))
    ahead = ahead_of(found)
    print("\n".join(compared_lines(found, ahead)))
    labelers = [json_of(each) for each in found]
    paired = {labeler: paired_json(conditions) for labeler, conditions in ahead.items()}
    line = json.dumps({"notes": WHOSE, "labelers": labelers, "ahead_of_first": paired})
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
