"""A student of chest reports, trained on four fifths of them and tried on the last, five times.

Used by ``tests.acceptance.chest_reports --labelers student``. It learns the gold findings (present
or not), from generated reports, too, with ``--generated``. Its cuts come from those of the four
fifths that it did not learn from: they chose its epoch. The students live in a temporary folder and
are gone afterwards, for nothing may be learned for the product from these reports.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from labeling.evaluation.cases import Case, Reference, folds_by_patient
from labeling.language import load_languages
from labeling.llm.model_store import ModelStore
from labeling.schema_file import schema_of, shipped_schema
from labeling.settings import LabelingSettings, StudentSettings
from labeling.student.examples import NOT_PRESENT, Example, allowed_of, parted
from labeling.synthesis.generator import generate
from labeling.vocabulary import WHOLE, LabelSchema, State
from tests.acceptance.chest_cuts import Flags, fitted
from tests.acceptance.open_i import ChestReport, Finding, findings
from tests.acceptance.readings import Reader, Reading, read_reports

_SEED = 3_000_017


def read_by_folds(
    reports: Sequence[ChestReport], settings: LabelingSettings, options: argparse.Namespace
) -> tuple[dict[str, Reading], LabelSchema, dict[str, Flags]]:
    """Return what students that never saw a report say of it, the schema they learned, and flags.

    The flags say by finding which reports have it, [reports], by the cuts of each report's student.
    """
    mapping = findings(schema_of(settings))
    learned = tuple(each.observations[0] for each in mapping)
    settings = settings.model_copy(update={"observations": learned})
    schema = schema_of(settings)
    found: dict[str, Reading] = {}
    flags = {each.name: np.zeros(len(reports), dtype=bool) for each in mapping}
    cases = [_case(each, mapping) for each in reports]
    for number, held_out in enumerate(folds_by_patient(cases, options.folds)):
        apart = set(held_out)
        with tempfile.TemporaryDirectory() as folder:
            others = [each for index, each in enumerate(reports) if index not in apart]
            named, kept = _train(others, mapping, schema, settings, Path(folder), options.generated)
            texts = {reports[index].name: reports[index].text for index in held_out}
            reader = Reader(f"student, fold {number + 1}", "student", named)
            read, _, _ = read_reports(
                reader, {**texts, **{r.name: r.text for r in kept}}, batch=64, cache=Path(folder)
            )
            found |= {name: read[name] for name in texts}
            for each in mapping:
                cut = _cut(kept, read, each)
                margins = [_margin(read[reports[i].name], each) for i in held_out]
                flags[each.name][held_out] = np.array(margins) > cut
    return found, schema, flags


def _cut(kept: Sequence[ChestReport], read: Mapping[str, Reading], finding: Finding) -> float:
    """Return the cut with the best F1 on the reports kept apart; 0 where too few have it."""
    margins = np.array([_margin(read[each.name], finding) for each in kept])
    goal = np.array([each.gold[finding.name] for each in kept], dtype=np.float64)
    threshold = fitted(margins, goal)
    return threshold.high if threshold else 0.0


def _margin(reading: Reading, finding: Finding) -> float:
    (margin,) = [
        each.margin
        for each in reading.results
        if (each.observation, each.site) == (finding.observations[0], WHOLE)
    ]
    return -np.inf if margin is None else margin  # a report that could not be read has nothing


def _train(
    reports: Sequence[ChestReport],
    mapping: Sequence[Finding],
    schema: LabelSchema,
    settings: LabelingSettings,
    folder: Path,
    generated: int,
) -> tuple[LabelingSettings, list[ChestReport]]:
    """Train a student into a store of its own; return settings that name it, and what was kept.

    From the reports that were kept apart it learned nothing: they chose its epoch.
    """
    from labeling.student.distilling import VALIDATION_SHARE, distil
    from labeling.student.encoder import stored_encoder
    from labeling.student.training import TrainingOptions

    examples = [
        Example(
            report.name,
            report.text,
            {
                (each.observations[0], WHOLE): allowed_of(
                    str(State.PRESENT) if report.gold[each.name] else NOT_PRESENT
                )
                for each in mapping
            },
        )
        for report in reports
    ]
    store = ModelStore(folder / "models")
    distil(
        [*examples, *_generated(mapping, generated)],
        schema,
        stored_encoder(store),
        folder / "student",
        TrainingOptions(),
        languages=load_languages(),
        settings=settings,
        progress=lambda line: print(line, file=sys.stderr),
    )
    name = store.add(folder / "student", "chest-student").name
    _, validated = parted(examples, VALIDATION_SHARE, TrainingOptions().seed)
    kept = {each.patient for each in validated}
    named = settings.model_copy(update={"student": StudentSettings(name=name)})
    return named, [report for report in reports if report.name in kept]


def _generated(mapping: Sequence[Finding], count: int) -> Iterator[Example]:
    """Yield generated reports with the same findings; a doubted one is neither there nor not."""
    sides = {True: allowed_of(str(State.PRESENT)), False: allowed_of(NOT_PRESENT)}
    for report in generate(shipped_schema("chest"), count, seed=_SEED, split="train"):
        allowed = {}
        for each in mapping:
            states = {report.states[name, WHOLE] for name in each.observations}
            if State.PRESENT in states or State.UNCERTAIN not in states:
                allowed[each.observations[0], WHOLE] = sides[State.PRESENT in states]
        yield Example(f"generated {report.id}", report.text, allowed)


def _case(report: ChestReport, mapping: Sequence[Finding]) -> Case:
    references = {
        (each.observations[0], WHOLE): Reference(
            State.PRESENT if report.gold[each.name] else State.ABSENT
        )
        for each in mapping
    }
    return Case(report.name, report.name, (), references)
