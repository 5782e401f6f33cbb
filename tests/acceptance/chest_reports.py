"""Labelers on real chest X-ray reports, beside human gold labels and MeSH strings.

    python -m tests.acceptance.chest_reports [--labelers rules,student,tree] [--subset 300]
        [--model PATH.gguf] [--dtype bfloat16] [--out FILE.json]

One report in five is left out: errors on those were read while phrasings for adaptation were
written. Gold: 14 findings of 3,080 reports (NegBio), to which labeling/schemas/chest.gold14.yaml
maps the observations of the schema. Headline: F1 of present by finding and their mean (macro F1)
over the findings that occur, as a labeler comes, and by cuts fitted on other folds where it gives
margins; then what each labeler has ahead of the first on the same reports. ``student`` is trained
on four fifths of the reports and reads the last fifth, five times; nothing of it is kept. The other
labelers learn nothing here. Severity and location are held against the MeSH strings, where the
labeler says present and a string names the finding. What a labeler that asks a model said is kept
(RADLOOP_READINGS), so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from labeling.decision import is_implied
from labeling.evaluation.cases import Case, decided
from labeling.evaluation.metrics import Estimate, estimates
from labeling.evaluation.resampling import Bootstrap, Floats, auroc, decision
from labeling.labeler import LabelResult
from labeling.schema_file import shipped_schema
from labeling.settings import LabelingSettings
from labeling.thresholds import UNCALIBRATED, Thresholds, nowhere
from labeling.vocabulary import WHOLE, LabelSchema, State
from tests.acceptance.chest_cuts import Flags, ahead, fitted_flags, macro_f1
from tests.acceptance.open_i import ChestReport, Finding, chest_reports, findings
from tests.acceptance.readings import Reader, Reading, for_json, number, read_reports, table

ASKING = {"token_scores", "template", "tree"}
Said = Mapping[str, LabelResult]
"""Decided labels of a report by observation."""


def settings_of(options: argparse.Namespace) -> LabelingSettings:
    """Return the settings that the labelers read under."""
    return LabelingSettings.model_validate(
        {
            "schema_name": "chest",
            "labelers": tuple(options.labelers),
            "language_model": {
                "dtype": options.dtype,
                "adapter": options.adapter,
                "batch_reports": options.batch,
                "threads": options.threads,
                "backend": options.backend,
                "url": options.url,
            },
            "observations": gold_observations() if options.gold_only else (),
            "tree": {"all_ways": options.all_ways},
        }
    )


def read(
    labeler: str, reports: Sequence[ChestReport], options: argparse.Namespace
) -> tuple[dict[str, Reading], LabelSchema, dict[str, Flags] | None]:
    """Return what a labeler says of each report.

    The flags are those of students, each of which has margins of its own: a cut that is fitted on
    margins of the others, which learned this one's reports, would be none.
    """
    settings = settings_of(options)
    if labeler == "student":
        from tests.acceptance.chest_student import read_by_folds

        return read_by_folds(reports, settings, options)
    texts = {each.name: each.text for each in reports}
    reader = Reader(labeler, labeler, settings, options.model, options.evidence)
    found, schema, _ = read_reports(reader, texts, batch=options.batch)
    return found, schema, None


def measure(
    labeler: str, reports: Sequence[ChestReport], options: argparse.Namespace
) -> dict[str, Any]:
    """Let one labeler read the reports and return its figures."""
    readings, schema, own = read(labeler, reports, options)
    sought = UNCALIBRATED if options.evidence or labeler not in ASKING else nowhere(schema)
    said = {name: _said(each.results, schema, sought) for name, each in readings.items()}
    mapping, bootstrap = findings(schema), Bootstrap(options.resamples, 0)
    goal = goals(reports, mapping)
    scores = {each.name: _scores(reports, said, each) for each in mapping}
    flags = {
        each.name: np.array([_is_present(said[r.name], each) for r in reports]) for each in mapping
    }
    fitted = own if own is not None else fitted_flags(goal, scores, options.folds)
    return {
        "labeler": labeler,
        "reports": len(reports),
        "seconds_per_report": median(each.seconds for each in readings.values()),
        "failed": sum(
            any(each.state is State.FAILED for each in labels.values()) for labels in said.values()
        ),
        "as_it_comes": presence(goal, flags, scores, bootstrap),
        "fitted": presence(goal, fitted, scores, bootstrap) if fitted else {},
        "flags": {"as it comes": flags, **({"by cuts of other folds": fitted} if fitted else {})},
        "location": location_agreement(reports, said, schema),
        "severity": severity_agreement(reports, said),
    }


def _said(results: Sequence[LabelResult], schema: LabelSchema, sought: Thresholds) -> Said:
    (case,) = decided([Case("", "", tuple(results))], schema, UNCALIBRATED, sought=sought)
    return {each.observation: each for each in case.results if each.site == WHOLE}


def gold_observations() -> tuple[str, ...]:
    """Return the observations that make up the gold findings."""
    mapping = findings(shipped_schema("chest"))
    return tuple(dict.fromkeys(name for each in mapping for name in each.observations))


def goals(reports: Sequence[ChestReport], mapping: Sequence[Finding]) -> dict[str, Floats]:
    """Return by finding 1.0 where the gold labels of a report have it, else 0.0."""
    return {
        each.name: np.array([report.gold[each.name] for report in reports], dtype=np.float64)
        for each in mapping
    }


def presence(
    goal: Mapping[str, Floats],
    found: Mapping[str, Flags],
    scores: Mapping[str, Floats | None],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Return F1 and more by finding, and macro F1 with its interval, over findings that occur."""
    rows = {}
    patients = [str(index) for index in range(len(next(iter(goal.values()))))]
    for name, target in goal.items():
        if not 0 < target.sum() < target.size:
            continue

        def figures(weights: Floats, name: str = name) -> dict[str, Floats]:
            values = decision(goal[name], found[name], weights)
            score = scores[name]
            if score is not None:
                values["auroc"] = auroc(goal[name], score, weights)
            return values

        rows[name] = {
            "positives": int(target.sum()),
            "said": int(found[name].sum()),
            **estimates(figures, patients, bootstrap),
        }
    means = estimates(
        lambda weights: {"macro_f1": macro_f1(goal, found, weights)}, patients, bootstrap
    )
    return {"findings": rows, "macro_f1": means["macro_f1"]}


def _is_present(said: Said, finding: Finding) -> bool:
    return any(
        said[name].state is State.PRESENT and (finding.implied or not is_implied(said[name]))
        for name in finding.observations
    )


def _scores(
    reports: Sequence[ChestReport], said: Mapping[str, Said], finding: Finding
) -> Floats | None:
    """Return the margin of the surest observation of each report, [reports]."""
    given = [
        [said[report.name][name].margin for name in finding.observations] for report in reports
    ]
    if any(each is None for row in given for each in row):
        return None
    return np.array([max(each for each in row if each is not None) for row in given])


def location_agreement(
    reports: Sequence[ChestReport], said: Mapping[str, Said], schema: LabelSchema
) -> dict[str, float]:
    """Return how far the places that are said are those of the MeSH strings.

    Both are sets of places; "bilateral" stands for both sides. ``precision`` and ``recall`` count
    places; ``contradicted`` is the share of labels with a place that the string's exclude.
    """
    means = {each.id: set(each.means) or {each.id} for each in schema.locations}
    excludes = {each.id: set(each.excludes) for each in schema.locations}
    hits = ours_total = theirs_total = compared = opposed = 0
    for report in reports:
        for name, theirs in report.locations().items():
            label = said[report.name].get(name)
            if label is None or label.state is not State.PRESENT or not theirs:
                continue
            ours = set().union(*(means[each] for each in label.locations))
            compared += 1
            hits += len(ours & theirs)
            ours_total += len(ours)
            theirs_total += len(theirs)
            sides = {"left", "right"}
            wrong = (ours & sides) and (theirs & sides) and not (ours & theirs & sides)
            wrong = wrong or any(excludes[each] & theirs and each not in theirs for each in ours)
            opposed += bool(wrong)
    precision, recall = _ratio(hits, ours_total), _ratio(hits, theirs_total)
    return {
        "labels": compared,
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * hits, ours_total + theirs_total),
        "contradicted": _ratio(opposed, compared),
    }


def severity_agreement(
    reports: Sequence[ChestReport], said: Mapping[str, Said]
) -> dict[str, float]:
    """Return how often the severity is that of the MeSH string, where one of three is named."""
    same = given = compared = 0
    for report in reports:
        for name, theirs in report.severities().items():
            label = said[report.name].get(name)
            if label is None or label.state is not State.PRESENT:
                continue
            compared += 1
            given += bool(label.severity)
            same += label.severity == theirs
    return {"labels": compared, "said": _ratio(given, compared), "same": _ratio(same, compared)}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one labeler's tables."""
    seconds = found["seconds_per_report"]
    yield f"{found['labeler']}: {found['reports']} reports, {seconds:.4f} s a report"
    yield from _table_of(found["as_it_comes"], "as it comes")
    if found["fitted"]:
        yield from _table_of(found["fitted"], "by cuts of other folds")
    for name in ("location", "severity"):
        figures = ", ".join(f"{key} {number(value)}" for key, value in found[name].items())
        yield f"{name} against MeSH strings: {figures}"


def _table_of(given: Mapping[str, Any], how: str) -> Iterator[str]:
    rows = [
        [
            name,
            str(each["positives"]),
            str(each["said"]),
            _interval(each["f1"]),
            number(each["precision"].value),
            number(each["sensitivity"].value),
            number(each["balanced_accuracy"].value),
            number(each["auroc"].value if "auroc" in each else None),
        ]
        for name, each in given["findings"].items()
    ]
    header = "finding|positives|said|F1|precision|sensitivity|balanced acc.|AUROC"
    yield from table([f"{how}: finding", *header.split("|")[1:]], rows)
    yield f"{how}: macro F1 {_interval(given['macro_f1'])}"


def compared(
    reports: Sequence[ChestReport], found: Sequence[Mapping[str, Any]], bootstrap: Bootstrap
) -> dict[str, dict[str, Estimate]]:
    """Return by labeler after the first, and whose cuts, what its macro F1 has ahead.

    The first is taken as it comes: margins of rules have no place for a cut.
    """
    goal = goals(reports, findings(shipped_schema("chest")))
    first, *others = found
    theirs = first["flags"]["as it comes"]
    return {
        each["labeler"]: {
            how: ahead(goal, flags, theirs, bootstrap) for how, flags in each["flags"].items()
        }
        for each in others
    }


def _interval(given: Estimate) -> str:
    return f"{number(given.value)} ({number(given.low, 2)}-{number(given.high, 2)})"


def json_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return one labeler's figures as values of JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, Estimate):
            return vars(value)
        if isinstance(value, Mapping):
            return {key: plain(each) for key, each in value.items()}
        return value

    done: dict[str, Any] = for_json(plain({k: v for k, v in found.items() if k != "flags"}))
    return done


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--labelers", default="rules", type=lambda names: names.split(","))
    parser.add_argument("--subset", type=int, help="so many reports, drawn by --seed")
    parser.add_argument(
        "--all-reports", action="store_true", help="those, too, on which errors were read"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--no-evidence", dest="evidence", action="store_false", help="find no spans (faster)"
    )
    parser.add_argument(
        "--likeliest-way",
        dest="all_ways",
        action="store_false",
        help="tree: no question off the likeliest way (faster; the same states)",
    )
    parser.add_argument(
        "--gold-only", action="store_true", help="ask for the gold findings only (faster)"
    )
    parser.add_argument("--model", type=Path, help="a GGUF file or folder; default: SmolLM2")
    parser.add_argument("--adapter", default="auto", help="of the model; none: as it comes")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--backend", default="transformers")
    parser.add_argument("--url", default="", help="of a model server, with --backend server")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folds", type=int, default=5, help="of the student and of the cuts")
    parser.add_argument("--generated", type=int, default=0, help="reports for the student, too")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the labelers that the command line names."""
    options = options_of(arguments)
    everything = chest_reports()
    reports = [each for each in everything if options.all_reports or not each.was_looked_at]
    print(f"{len(reports)} of {len(everything)} reports with gold labels")
    if options.subset:
        # A smaller subset is the beginning of a larger one, so a stopped run has a random sample.
        random.Random(options.seed).shuffle(reports)
        reports = reports[: options.subset]
    found = []
    for labeler in options.labelers:
        found.append(measure(labeler, reports, options))
        print("\n".join(lines_of(found[-1])), flush=True)
    paired = compared(reports, found, Bootstrap(options.resamples, 0))
    for name, ways in paired.items():
        for how, each in ways.items():
            first = f"{found[0]['labeler']} as it comes"
            print(f"macro F1 of {name} {how} ahead of {first}: {_interval(each)}")
    ahead_of = {
        name: {how: vars(each) for how, each in ways.items()} for name, ways in paired.items()
    }
    line = json.dumps({"chest": [json_of(each) for each in found], "ahead_of_first": ahead_of})
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
