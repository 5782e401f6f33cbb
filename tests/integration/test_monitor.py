"""The monitor on a small node: what is compared, what is left out, what is written."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from sqlmodel import Session, col, select

from dicom_node.linking.models import PatientEvent
from dicom_node.models import Instance, Quarantined, Report, Series, Transmission
from dicom_node.studies import study_digest
from labeling.runs import LabelerIdentity, open_run
from plugin.context import Context, open_context
from plugin.questions import ask
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.monitor_rows import Left
from tests.cohort_builders import NOW, add_labels, add_report, add_study
from training.models import Cohort, CohortMember, Model, Prediction, TrainingRun
from training.predictions import SitePrediction, store_predictions
from training.registry import register, silence

HOUR = dt.timedelta(hours=1)
STUDIES = [f"1.2.{number}" for number in range(1, 9)]


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    path = tmp_path / "radloop.toml"
    path.write_text(render(), encoding="utf-8")
    with open_context(load_settings(path)) as context:
        with context.database.write() as session:
            _fill(context, session)
        yield context


def _fill(context: Context, session: Session) -> None:
    """A silent model, eight studies that it predicted, and reports that came an hour later."""
    schema = context.schema()
    run = open_run(session, LabelerIdentity("rules", "m", "p"), schema, context.clock)
    cohort = Cohort(
        digest="c", name="c", schema_name=schema.name, schema_digest=schema.digest,
        labeling_run_id=run.id or 0, frozen_at=NOW,
    )  # fmt: skip
    session.add(cohort)
    session.flush()
    training = TrainingRun(
        cohort_id=cohort.id or 0, classifier="c", seed=1, code_version="t",
        started_at=NOW, finished_at=NOW,
    )  # fmt: skip
    session.add(training)
    session.flush()
    model = register(
        session, weights_digest="a" * 64, name="spine", training_run=training,
        operating_points={"stenosis": 0.5}, uid_source=lambda: "2.25.1", decided_by="test",
        clock=lambda: NOW,
    )  # fmt: skip
    silence(session, "spine", decided_by="test", reason="test", clock=lambda: NOW)
    for number, uid in enumerate(STUDIES):
        add_study(session, uid, f"P{number}")
        present = number % 2 == 0
        predict(session, model, uid, 0.9 if present else 0.2)
        report = add_report(session, uid)
        session.get_one(Report, report).received_at = NOW + HOUR
        state = "present" if present else "absent"
        add_labels(session, run, report, {("stenosis", "L4-L5"): state})
    for row in session.exec(select(Series)):
        row.manufacturer, row.manufacturer_model_name = "Simulated", "One"


def predict(
    session: Session, model: Model, uid: str, value: float, at: dt.datetime = NOW, digest: str = ""
) -> None:
    session.add(
        Prediction(
            model_id=model.id or 0, study_instance_uid=uid, observation="stenosis", site="L4-L5",
            study_digest=digest or study_digest(session, uid), probability=value, threshold=0.5,
            stage="silent", predicted_at=at,
        )
    )  # fmt: skip
    session.flush()


def monitor(context: Context, tmp_path: Path) -> dict[str, Any]:
    asked = {"model": "spine", "output": str(tmp_path / "out")}
    return ask(context.settings, "model monitor", asked)


def whole(found: dict[str, Any]) -> dict[str, Any]:
    [row] = [each for each in found["agreement"] if each["split"] == "all"]
    return dict(row)


def test_predictions_are_compared_with_reports_and_the_files_are_whole(
    context: Context, tmp_path: Path
) -> None:
    found = monitor(context, tmp_path)
    assert (found["stage"], found["studies"], found["compared"]) == ("silent", 8, 8)
    assert (whole(found)["sensitivity"], whole(found)["specificity"]) == (1.0, 1.0)
    assert {each["value"] for each in found["agreement"]} == {
        "", "Simulated One", "SITE", "no", "silent",
    }  # fmt: skip
    kept, picture = map(Path, found["files"])
    assert json.loads(kept.read_text())["agreement"][0]["calibration"]["bins"]
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
    assert not any(uid in kept.read_text() for uid in STUDIES)
    assert found["state"].startswith("8 studies, 150 are needed")


def test_what_may_not_be_compared_is_counted_with_the_reason(
    context: Context, tmp_path: Path
) -> None:
    with context.database.write() as session:
        reports = session.exec(select(Report).order_by(col(Report.id))).all()
        reports[0].received_at = NOW - HOUR  # it was there before
        reports[1].history = True
        reports[2].result_status = "P"
        add_report(session, STUDIES[3], identity="another")
        new = add_report(session, STUDIES[4], identity=reports[4].report_identity, version=2)
        session.get_one(Report, new).received_at = NOW + 3 * HOUR
        reports[4].is_current = False
    found = monitor(context, tmp_path)
    assert found["compared"] == 3
    assert found["left_out"] == {
        Left.NO_REPORT: 1, Left.SEVERAL: 1, Left.IMPORTED: 1, Left.EARLIER: 1, Left.UNREAD: 1,
    }  # fmt: skip


def test_patients_who_taught_the_model_are_not_watched(context: Context, tmp_path: Path) -> None:
    from plugin.stages.ground import ground_of
    from training.patients import read_patients

    ground = ground_of(context.settings)
    with context.database.write() as session:
        patients = read_patients(session, ground.name_of)
        for number, fold in enumerate(("train", "validation", "test")):
            key = patients.key("SITE", f"P{number}", ground.salt)
            session.add(
                CohortMember(
                    cohort_id=1, study_instance_uid=STUDIES[number], patient_key=key, fold=fold
                )
            )
    found = monitor(context, tmp_path)
    assert found["studies"] == 6
    assert found["left_out"] == {Left.TAUGHT: 2}


def test_a_study_counts_as_it_was_seen_last_before_its_report(
    context: Context, tmp_path: Path
) -> None:
    with context.database.write() as session:
        model = session.get_one(Model, 1)
        predict(session, model, STUDIES[0], 0.1, NOW + HOUR / 2, digest="grown")
        predict(session, model, STUDIES[0], 0.9, NOW + 2 * HOUR, digest="grown again")
    found = whole(monitor(context, tmp_path))
    assert (found["n"], found["sensitivity"]) == (8, 0.75)


def test_studies_whose_radiologist_could_see_our_report_stand_apart(
    context: Context, tmp_path: Path
) -> None:
    with context.database.write() as session:
        for uid, after in ((STUDIES[0], HOUR / 2), (STUDIES[2], 2 * HOUR)):
            session.add(
                Transmission(
                    sop_instance_uid=f"{uid}.9", sop_class_uid="1.2", study_instance_uid=uid,
                    peer="pacs", path="x", state="delivered", created_at=NOW,
                    delivered_at=NOW + after,
                )
            )  # fmt: skip
    rows = monitor(context, tmp_path)["agreement"]
    apart = {e["value"]: e["n"] for e in rows if e["split"] == "structured report before"}
    assert apart == {"yes": 1, "no": 7}


def test_what_may_have_arrived_unanswered_counts_as_seen(context: Context, tmp_path: Path) -> None:
    with context.database.write() as session:
        for uid, attempts in ((STUDIES[0], 1), (STUDIES[1], 0)):
            session.add(
                Transmission(
                    sop_instance_uid=f"{uid}.9", sop_class_uid="1.2", study_instance_uid=uid,
                    peer="pacs", path="x", state="failed", attempts=attempts, created_at=NOW,
                )
            )  # fmt: skip
    rows = monitor(context, tmp_path)["agreement"]
    apart = {e["value"]: e["n"] for e in rows if e["split"] == "structured report before"}
    assert apart == {"yes": 1, "no": 7}


def test_what_is_held_back_or_of_another_patient_now_is_not_compared(
    context: Context, tmp_path: Path
) -> None:
    with context.database.write() as session:
        session.add(
            Quarantined(
                kind="dicom", digest="9" * 64, reason="another patient", cause="identity",
                study_instance_uid=STUDIES[0], received_at=NOW,
            )
        )  # fmt: skip
        add_report(session, STUDIES[1], identity="foreign", state="suspended")
        for number, after in ((2, HOUR), (3, -HOUR)):  # the second was known at the prediction
            session.add(
                PatientEvent(
                    action="merge", event_time="2026", prior_issuer="SITE",
                    prior_patient_id=f"P{number}", issuer="SITE", patient_id=f"Q{number}",
                    recorded_at=NOW + after,
                )
            )  # fmt: skip
    found = monitor(context, tmp_path)
    assert found["left_out"] == {Left.HELD: 2, Left.MOVED: 1}
    assert found["compared"] == 5


def test_names_of_scanners_are_shown_as_they_may_be(context: Context, tmp_path: Path) -> None:
    with context.database.write() as session:
        names = ("$\\bad$", "_hidden", "\x1b[31mred\n\u202e", "A" * 200)
        for row, name in zip(session.exec(select(Series)), names, strict=False):
            row.manufacturer, row.manufacturer_model_name = "", name
            session.add(row)
    found = monitor(context, tmp_path)
    shown = {each["value"] for each in found["agreement"] if each["split"] == "scanner"}
    assert shown == {"$\\bad$", "_hidden", "[31mred", "A" * 61 + "...", "Simulated One"}
    assert set(found["marks"].values()) == {*shown, "SITE"}


def test_a_scanner_is_known_after_retention_deleted_the_series(
    context: Context, tmp_path: Path
) -> None:
    with context.database.write() as session:
        model = session.get_one(Model, 1)
        add_study(session, "1.3", "P99")
        for row in session.exec(select(Series).where(Series.study_instance_uid == "1.3")):
            row.manufacturer, row.institution_name = "Another", "North"
            session.add(row)
        session.flush()
        rows = [SitePrediction("stenosis", "L4-L5", 0.9)]
        store_predictions(session, model, "1.3", "d", rows, {}, context.clock, {})
        of_it = col(Series.study_instance_uid) == "1.3"
        series = sa.select(col(Series.series_instance_uid)).where(of_it)
        session.execute(sa.delete(Instance).where(col(Instance.series_instance_uid).in_(series)))
        session.execute(sa.delete(Series).where(of_it))
    from plugin.stages.ground import ground_of
    from plugin.stages.monitor_rows import gather

    with context.database.read() as session:
        model = session.get_one(Model, 1)
        found = gather(session, context.settings, ground_of(context.settings), model)
    [row] = [each for each in found.rows if each.study == "1.3"]
    assert (row.scanner, row.house) == ("Another", "North")


def test_silence_counts_towards_the_gate(context: Context) -> None:
    from plugin.stages.monitor import silent_evidence

    with context.database.read() as session:
        model = session.get_one(Model, 1)
        found = silent_evidence(context.settings, session, model)
    assert (found.silent_studies, found.alarms) == (8, ())
    assert found.state.startswith("8 studies, 150 are needed")
