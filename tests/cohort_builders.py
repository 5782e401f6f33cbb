"""Rows for tests of cohorts, models and predictions: a small archive, a run, a trained model."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

from sqlmodel import Session, SQLModel, select

from dicom_node.database import Database
from dicom_node.models import Instance, Link, Report, Series, Study
from dicom_node.storage import DicomStore
from labeling.models import (
    Label,
    LabelingRun,
    ReferenceLabel,
    ReferenceSample,
    SampledSubject,
)
from labeling.runs import LabelerIdentity, open_run
from labeling.vocabulary import Code, LabelSchema, Observation, Site
from plugin.context import Context, open_context
from plugin.settings import load_settings
from plugin.settings_template import render
from training.models import Cohort, Prediction, TrainingRun
from training.registry import promote, register

NOW = dt.datetime(2026, 3, 4, 5, 6, tzinfo=dt.UTC)
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
CODE = Code("1", "99TEST", "a code")
SITES = ("L4-L5", "L5-S1")
SCHEMA = LabelSchema(
    name="spine",
    title="Spine",
    modality="MR",
    body_parts=("LSPINE",),
    procedure=CODE,
    sites=tuple(Site(site, site, CODE) for site in SITES),
    observations=(
        Observation("narrowing", "Narrowing", "A lower disc.", (), CODE, SITES),
        Observation("fracture", "Fracture", "A broken bone.", (), CODE),
    ),
    digest="5" * 64,
)

_numbers = count(1)


def clock() -> dt.datetime:
    return NOW


@contextmanager
def blank_session() -> Iterator[Session]:
    """Yield a writing session on an empty database; nothing that it does remains."""
    with Session(_database().engine, expire_on_commit=False) as session:
        yield session
        session.rollback()


@cache
def _database() -> Database:
    """Open one database for all tests: compiling its statements takes longer than a test."""
    opened = Database("sqlite://")
    SQLModel.metadata.create_all(opened.engine)
    return opened


def add_study(
    session: Session,
    uid: str,
    patient_id: str,
    *,
    issuer: str = "SITE",
    modality: str = "MR",
    body_part: str = "LSPINE",
    description: str = "T2 sagittal",
    sop_class_uid: str = MR_IMAGE,
) -> None:
    """Add a study with one series of one instance."""
    session.add(
        Study(
            study_instance_uid=uid,
            patient_id=patient_id,
            issuer_of_patient_id=issuer,
            first_received_at=NOW,
            last_received_at=NOW,
        )
    )
    session.flush()
    add_series(
        session,
        uid,
        modality=modality,
        body_part=body_part,
        description=description,
        sop_class_uid=sop_class_uid,
    )


def add_series(
    session: Session,
    uid: str,
    *,
    modality: str = "MR",
    body_part: str = "LSPINE",
    description: str = "T2 sagittal",
    sop_class_uid: str = MR_IMAGE,
) -> None:
    """Add a series of one instance to a study."""
    number = next(_numbers)
    series = Series(
        series_instance_uid=f"{uid}.{number}",
        study_instance_uid=uid,
        modality=modality,
        body_part_examined=body_part,
        series_description=description,
    )
    session.add(series)
    session.flush()
    session.add(
        Instance(
            sop_instance_uid=f"{uid}.{number}.1",
            digest=hashlib.sha256(f"{uid}.{number}".encode()).hexdigest(),
            series_instance_uid=series.series_instance_uid,
            sop_class_uid=sop_class_uid,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            size=1,
            received_at=NOW,
        )
    )
    session.flush()


def add_report(
    session: Session,
    uid: str,
    *,
    identity: str = "",
    status: str = "F",
    state: str = "confirmed",
    version: int = 1,
    current: bool = True,
) -> int:
    """Add a report version that is linked to a study; return its id."""
    report = Report(
        report_identity=identity or f"report of {uid}",
        version=version,
        is_current=current,
        text=f"Findings of version {version}.",
        result_status=status,
        received_at=NOW,
    )
    session.add(report)
    session.flush()
    number = report.id or 0
    session.add(
        Link(
            report_id=number,
            study_instance_uid=uid,
            state=state,
            rule="test",
            reason="test",
            decided_at=NOW,
        )
    )
    session.flush()
    return number


def add_run(
    session: Session, schema: LabelSchema = SCHEMA, model_digest: str = "6" * 64
) -> LabelingRun:
    """Add a labeling run."""
    run = LabelingRun(
        labeler="rules",
        schema_name=schema.name,
        schema_digest=schema.digest,
        model_digest=model_digest,
        started_at=NOW,
    )
    session.add(run)
    session.flush()
    return run


def add_labels(
    session: Session, run: LabelingRun, report_id: int, states: Mapping[tuple[str, str], str]
) -> None:
    """Add labels of a report: state by observation and site."""
    for (observation, site), state in states.items():
        session.add(
            Label(
                run_id=run.id or 0,
                report_id=report_id,
                observation=observation,
                site=site,
                state=state,
                created_at=NOW,
            )
        )
    session.flush()


def add_reference(
    session: Session,
    uid: str,
    states: Mapping[tuple[str, str], str],
    *,
    reader: str = "reader 1",
    level: str = "image",
    sampled: bool = True,
) -> None:
    """Add a reader's labels of a subject: state by observation and site; of a sample, blinded."""
    said = (
        {"sample_digest": sample_with(session, uid, level, states), "blinded": "yes"}
        if sampled
        else {}
    )
    for (observation, site), state in states.items():
        session.add(
            ReferenceLabel(
                **said,
                level=level,
                subject=uid,
                observation=observation,
                site=site,
                reader=reader,
                state=state,
                imported_at=NOW,
            )
        )
    session.flush()


def sample_with(
    session: Session,
    subject: str,
    level: str,
    places: Iterable[tuple[str, str]],
    readers: int = 1,
) -> str:
    """Add a subject to the sample of a level, for which one reader suffices; return its digest."""
    digest = f"sample of {level}, {readers}"
    query = select(ReferenceSample).where(ReferenceSample.digest == digest)
    sample = session.exec(query).first()
    if sample is None:
        sample = ReferenceSample(
            digest=digest, level=level, design="random", seed=1, frame_size=100, n=10,
            readers=readers, drawn_at=NOW,
        )  # fmt: skip
        session.add(sample)
        session.flush()
    sample.places = [*sample.places, *map(list, places)]
    session.add(sample)
    of = {"sample_id": sample.id or 0, "subject": subject}
    known = select(SampledSubject).filter_by(**of)
    if session.exec(known).first() is None:
        session.add(SampledSubject(**of, stratum="all", probability=0.1))
        session.flush()
    return digest


def add_training_run(session: Session, metrics: Mapping[str, object] | None = None) -> TrainingRun:
    """Add a training run on an empty cohort."""
    labeling_run = add_run(session)
    cohort = Cohort(
        digest=f"{next(_numbers):064x}",
        name="spine",
        schema_name=SCHEMA.name,
        schema_digest=SCHEMA.digest,
        labeling_run_id=labeling_run.id or 0,
        frozen_at=NOW,
    )
    session.add(cohort)
    session.flush()
    run = TrainingRun(
        cohort_id=cohort.id or 0,
        classifier="disc_network",
        seed=1,
        code_version="test",
        metrics=dict(metrics or {}),
        started_at=NOW,
        finished_at=NOW,
    )
    session.add(run)
    session.flush()
    return run


def add_said(session: Session, uid: str, sop_instance_uid: str) -> None:
    """Add a live model and its prediction on a study, which a structured report carries."""
    model = register(
        session,
        weights_digest="d" * 64,
        name="said",
        training_run=add_training_run(session),
        operating_points={},
        uid_source=lambda: "2.25.7",
        decided_by="test",
        clock=clock,
    )
    promote(session, "said", decided_by="test", reason="a test", clock=clock)
    session.add(
        Prediction(
            model_id=model.id or 0, study_instance_uid=uid, study_digest="d", observation="o",
            site="s", probability=0.5, sop_instance_uid=sop_instance_uid, predicted_at=NOW,
        )
    )  # fmt: skip
    session.flush()


@contextmanager
def node_with_a_run(folder: Path) -> Iterator[Context]:
    """Open a node of the usual settings on which a run of the labeler by rules is open."""
    path = folder / "radloop.toml"
    path.write_text(render(), encoding="utf-8")
    with open_context(load_settings(path)) as context:
        DicomStore(context.folder.root).recover()
        with context.database.write() as session:
            open_run(session, LabelerIdentity("rules", "m", "p"), context.schema(), context.clock)
        yield context
