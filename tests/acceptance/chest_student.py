"""A student of chest reports, trained on four fifths of them and tried on the last, five times.

Used by ``tests.acceptance.chest_reports --labelers student``. It learns the gold findings (present
or not); the students live in a temporary folder and are gone afterwards, for nothing may be learned
for the product from these reports.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from labeling.evaluation.cases import Case, Reference, folds_by_patient
from labeling.language import load_languages
from labeling.llm.model_store import ModelStore
from labeling.schema_file import schema_of
from labeling.settings import LabelingSettings, StudentSettings
from labeling.vocabulary import WHOLE, LabelSchema, State
from tests.acceptance.open_i import ChestReport, Finding, findings
from tests.acceptance.readings import Reader, Reading, read_reports


def read_by_folds(
    reports: Sequence[ChestReport], settings: LabelingSettings, options: argparse.Namespace
) -> tuple[dict[str, Reading], LabelSchema]:
    """Return what students that never saw a report say of it, and the schema they learned."""
    mapping = findings(schema_of(settings))
    learned = tuple(each.observations[0] for each in mapping)
    settings = settings.model_copy(update={"observations": learned})
    schema = schema_of(settings)
    found: dict[str, Reading] = {}
    cases = [_case(each, mapping) for each in reports]
    for number, held_out in enumerate(folds_by_patient(cases, options.folds)):
        apart = set(held_out)
        with tempfile.TemporaryDirectory() as folder:
            named = _train(
                [each for index, each in enumerate(reports) if index not in apart],
                mapping,
                schema,
                settings,
                Path(folder),
            )
            texts = {reports[index].name: reports[index].text for index in held_out}
            reader = Reader(f"student, fold {number + 1}", "student", named)
            read, _, _ = read_reports(reader, texts, batch=64, cache=Path(folder))
            found |= read
    return found, schema


def _train(
    reports: Sequence[ChestReport],
    mapping: Sequence[Finding],
    schema: LabelSchema,
    settings: LabelingSettings,
    folder: Path,
) -> LabelingSettings:
    """Train a student into a store of its own; return the settings that name it."""
    from labeling.student.distilling import distil
    from labeling.student.encoder import stored_encoder
    from labeling.student.examples import NOT_PRESENT, Example, allowed_of
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
        examples,
        schema,
        stored_encoder(store),
        folder / "student",
        TrainingOptions(),
        languages=load_languages(),
        settings=settings,
        progress=lambda line: print(line, file=sys.stderr),
    )
    name = store.add(folder / "student", "chest-student").name
    return settings.model_copy(update={"student": StudentSettings(name=name)})


def _case(report: ChestReport, mapping: Sequence[Finding]) -> Case:
    references = {
        (each.observations[0], WHOLE): Reference(
            State.PRESENT if report.gold[each.name] else State.ABSENT
        )
        for each in mapping
    }
    return Case(report.name, report.name, (), references)
