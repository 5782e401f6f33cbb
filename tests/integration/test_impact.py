"""From a change in the tables to notes, manifests, the command, and a training that is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select
from typer.testing import CliRunner

from dicom_node.life_models import Erasure
from dicom_node.linking.models import LinkEvent
from dicom_node.models import Link, Quarantined, Transmission
from dicom_node.studies import study_digest
from labeling.runs import LabelerIdentity, open_run
from plugin.cli import app
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.pipeline import waiting_transmissions
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.cohort import SHORTCOMINGS, freeze_cohort, newest_cohort
from plugin.stages.complete import complete_study
from plugin.stages.erase import erase_patient
from plugin.stages.ground import ground_of
from plugin.stages.impact import note_impacts
from plugin.stages.send import _may_leave
from plugin.stages.train import _spoiled, train_model
from tests.cohort_builders import NOW, add_labels, add_report, add_study
from training.impact_models import ImpactNote, ImpactPosition
from training.models import Cohort, Model, Prediction, TrainingRun
from training.registry import promote

PREDICTION = """
[[prediction]]
model = "spine"
modality = "MR"
body_part = "LSPINE"
"""
STUDIES = [f"1.2.{number}" for number in range(1, 13)]


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    path = tmp_path / "radloop.toml"
    path.write_text(render() + PREDICTION, encoding="utf-8")
    with open_context(load_settings(path)) as context:
        _fill(context)
        yield context


def _fill(context: Context) -> None:
    """Twelve patients, a cohort, a model, a prediction and a structured report that waits."""
    with context.database.write() as session:
        run = open_run(session, LabelerIdentity("rules", "m", "p"), context.schema(), context.clock)
        for number, uid in enumerate(STUDIES):
            add_study(session, uid, f"P{number}")
            report = add_report(session, uid)
            add_labels(session, run, report, {("stenosis", "L4-L5"): "present"})
    for uid in STUDIES:
        complete_study(context, uid, by="test", reason="a test")
    assert freeze_cohort(context, "spine", "rules", SHORTCOMINGS)["members"] == len(STUDIES)
    with context.database.write() as session:
        training = TrainingRun(
            cohort_id=1, classifier="c", seed=1, code_version="t", started_at=NOW, finished_at=NOW
        )
        session.add(training)
        session.flush()
        _model(session, training.id or 0)
        session.add(
            Transmission(
                sop_instance_uid="2.25.9", sop_class_uid="1.2", study_instance_uid=STUDIES[0],
                peer="pacs", path="x", state="queued", created_at=NOW,
            )
        )  # fmt: skip
    assert note_impacts(context) == 0


def _model(session: Session, training_run: int) -> None:
    from training.registry import register

    model = register(
        session,
        weights_digest="1" * 64,
        name="spine",
        training_run=session.get_one(TrainingRun, training_run),
        operating_points={},
        uid_source=lambda: "2.25.1",
        decided_by="test",
        clock=lambda: NOW,
    )
    session.flush()
    session.add(
        Prediction(
            model_id=model.id or 0, study_instance_uid=STUDIES[0], observation="o", site="s",
            study_digest=study_digest(session, STUDIES[0]), sop_instance_uid="", predicted_at=NOW,
        )
    )  # fmt: skip


def _turn(context: Context, uid: str, state: str) -> None:
    with context.database.write() as session:
        link = session.exec(select(Link).where(Link.study_instance_uid == uid)).one()
        link.state = state
        session.add(link)
        session.add(
            LinkEvent(
                report_id=link.report_id, study_instance_uid=uid, state=state, rule="r",
                reason="r", decided_at=NOW,
            )
        )  # fmt: skip


def _manifest(context: Context) -> dict[str, Any]:
    with context.database.read() as session:
        digest = newest_cohort(session, "spine").digest
    found: dict[str, Any] = json.loads((context.folder.cohorts / f"{digest}.json").read_text())
    return found


def _ask(context: Context, *arguments: str) -> dict[str, Any]:
    path = context.folder.root.parent / "radloop.toml"
    result = CliRunner().invoke(app, [*arguments, "--config", str(path), "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_withdrawn_link_is_noted_once_shown_everywhere_and_stops_training(
    context: Context,
) -> None:
    before = _manifest(context)
    for uid in STUDIES[:3]:
        _turn(context, uid, "withdrawn")
    # Three members, and the model that learned from each.
    assert note_impacts(context) == 6
    assert note_impacts(context) == note_impacts(context, everything=True) == 0
    after = _manifest(context)
    assert after.pop("superseded") != before.pop("superseded") == []
    assert after == before
    shown = _ask(context, "cohort", "show", "spine")
    assert shown["digest"] == before["digest"]
    assert shown["superseded"].startswith("3 of 12 members do not stand any more (3: its link")
    with pytest.raises(Permanent, match=r"superseded: 3 of 12 .* freeze it again"):
        train_model(context, "spine", "spine", lambda _: None)
    found = _ask(context, "impact", STUDIES[0])
    assert [each["stands"] for each in found["members"]] == ["its link is not confirmed any more"]
    (model,) = found["models"]
    assert model["stands"] == "trained on 3 links since withdrawn or suspended"
    assert [each["said"] for each in found["notes"]] == ["its link is not confirmed any more"] * 2
    assert freeze_cohort(context, "spine", "rules", SHORTCOMINGS)["members"] == len(STUDIES) - 3


@pytest.mark.parametrize(
    "arguments", [(STUDIES[5],), ("6",), ("P5^^^SITE",), ("P5", "--issuer", "SITE")]
)
def test_report_study_and_patient_name_the_same_things(
    context: Context, arguments: tuple[str, ...]
) -> None:
    found = _ask(context, "impact", *arguments)
    assert [each["report"] for each in found["labels"]] == [6]
    assert [each["study_instance_uid"] for each in found["members"]] == [STUDIES[5]]
    assert [each["stands"] for each in found["members"] + found["models"]] == ["stands"] * 2


@pytest.mark.parametrize("unknown", ["999", "1.2.3.4", "P5^^^ELSEWHERE", "-", "²"])
def test_nobody_is_answered_with_an_error(context: Context, unknown: str) -> None:
    path = context.folder.root.parent / "radloop.toml"
    result = CliRunner().invoke(app, ["impact", "--config", str(path), "--", unknown])
    assert isinstance(result.exception, Permanent)


def test_what_falls_during_a_training_throws_the_weights_away(context: Context) -> None:
    ground = ground_of(context.settings)
    with context.database.read() as session:
        assert _spoiled(session, ground, newest_cohort(session, "spine")) == ""
    _turn(context, STUDIES[4], "suspended")
    with context.database.read() as session:
        said = _spoiled(session, ground, newest_cohort(session, "spine"))
    assert "superseded during the training: 1 of 12" in said


def test_nothing_is_written_back_while_a_link_is_suspended(context: Context) -> None:
    with context.database.write() as session:
        promote(session, "spine", decided_by="test", reason="a test", clock=lambda: NOW)
        session.exec(select(Prediction)).one().sop_instance_uid = "2.25.9"
    with context.database.read() as session:
        (row,) = waiting_transmissions(session)
    _turn(context, STUDIES[0], "suspended")
    with context.database.read() as session:
        assert waiting_transmissions(session) == []
    # It was on its way already: asked again in the transaction.
    assert not _may_leave(context, row)
    with context.database.read() as session:
        stored = session.exec(select(Transmission)).one()
    assert (stored.state, stored.rounds) == ("queued", 1)
    assert stored.last_error == "held: a link of the study is suspended until a person decides"
    _turn(context, STUDIES[0], "confirmed")
    assert _may_leave(context, row)


def test_a_quarantined_object_is_noticed_without_any_other_change(context: Context) -> None:
    def freeze(state: str) -> None:
        with context.database.write() as session:
            row = session.exec(select(Quarantined)).first() or Quarantined(
                kind="dicom", digest="9" * 64, reason="r", study_instance_uid=STUDIES[7],
                received_at=NOW,
            )  # fmt: skip
            row.state = state
            session.add(row)

    freeze("open")
    assert note_impacts(context) == 2  # the member and the model
    assert note_impacts(context) == 0
    freeze("rejected")
    assert note_impacts(context) == 2
    assert _manifest(context)["superseded"] == []


def test_erasure_leaves_a_count_and_no_name(context: Context) -> None:
    _turn(context, STUDIES[0], "withdrawn")
    note_impacts(context)
    erase_patient(
        context, issuer="SITE", patient_id="P0", by="officer", reason="asked", dry_run=False
    )
    with context.database.read() as session:
        assert not session.exec(select(ImpactPosition)).all()
        (erasure,) = session.exec(select(Erasure)).all()
    assert note_impacts(context) == 2  # the cohort and the model
    assert note_impacts(context) == note_impacts(context, everything=True) == 0
    with context.database.read() as session:
        rows = session.exec(select(ImpactNote).order_by(col(ImpactNote.id))).all()
        assert [(row.cause, row.count, row.study_instance_uid) for row in rows] == [
            ("erasure", 1, "")
        ] * 2
        assert session.exec(select(Cohort)).one().digest == erasure.cohorts[0]["after"]
        assert session.exec(select(Model)).one()
    assert _ask(context, "cohort", "show", "spine")["superseded"] == "1 members were erased"
    assert _ask(context, "impact", STUDIES[3])["models"][0]["stands"] == (
        "trained on 1 members since erased"
    )
