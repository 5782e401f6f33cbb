"""A model's way through the gate on a small node: silence, refusals, going live, going back."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select
from typer.testing import CliRunner

from dicom_node.archive_settings import PacsPeer
from dicom_node.models import Instance, Transmission
from dicom_node.send_outcomes import Outcome, SendResult
from dicom_node.studies import study_digest
from labeling.runs import LabelerIdentity, open_run
from plugin.cli import app
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.operations import run_operation
from plugin.pipeline import waiting_predictions, waiting_transmissions
from plugin.questions import ask
from plugin.settings import Settings, load_settings
from plugin.settings_template import render
from plugin.stages.cohort import SHORTCOMINGS, freeze_cohort
from plugin.stages.complete import complete_study
from plugin.stages.impact import note_impacts
from plugin.stages.monitor import Evidence, silent_evidence
from plugin.stages.predict import Predictor
from plugin.stages.send import send_report
from plugin.stages.weights import check_weights
from tests.cohort_builders import NOW, add_labels, add_reference, add_report, add_study
from training import errors
from training.impact_models import ImpactNote
from training.models import CohortMember, Model, ModelEvent, Prediction, TrainingRun
from training.predictions import (
    SitePrediction,
    record_carrier,
    stages_now,
    stages_since,
    store_predictions,
)
from training.registry import promote as live
from training.registry import register
from training.stages import Stage, newest_event

STUDIES = [f"1.2.{number}" for number in range(1, 9)]
PREDICTION = """
[[prediction]]
model = "spine"
modality = "MR"
body_part = "LSPINE"
only_without_final_report = false
"""


def figures(low: float, positives: int) -> dict[str, Any]:
    return {
        "auroc": {"value": low + 0.1, "low": low, "reason": ""},
        "positives": positives,
        "n": 60,
    }


TEST = {"observations": {"stenosis": figures(0.8, 30), "herniation": figures(0.7, 4)}}


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Have the weights of every model be usable; by version, what they lack is said here."""
    lacking: dict[str, str] = {}

    def check(_context: Context, model: Model, _run: TrainingRun) -> str:
        said = lacking.get(str(model.version), "")
        if said.startswith("!"):
            raise Permanent(said[1:])
        return said

    monkeypatch.setattr("plugin.stages.registry.check_weights", check)
    return lacking


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    path = tmp_path / "radloop.toml"
    path.write_text(render() + PREDICTION, encoding="utf-8")
    with open_context(load_settings(path)) as context:
        _fill(context)
        yield context


def _fill(context: Context) -> None:
    """Eight patients, two of them read by a reader; two versions of a model."""
    places = {("stenosis", "L4-L5"): "present", ("herniation", "L4-L5"): "absent"}
    with context.database.write() as session:
        run = open_run(session, LabelerIdentity("rules", "m", "p"), context.schema(), context.clock)
        for number, uid in enumerate(STUDIES):
            add_study(session, uid, f"P{number}")
            add_labels(session, run, add_report(session, uid), places)
        for uid in STUDIES[:2]:
            add_reference(session, uid, places)
    for uid in STUDIES:
        complete_study(context, uid, by="test", reason="a test")
    freeze_cohort(context, "spine", "rules", SHORTCOMINGS)
    with context.database.write() as session:
        training = TrainingRun(
            cohort_id=1, classifier="c", seed=1, code_version="t", metrics={"test": TEST},
            started_at=NOW, finished_at=NOW,
        )  # fmt: skip
        session.add(training)
        session.flush()
        for letter in "ab":
            register(
                session,
                weights_digest=letter * 64,
                name="spine",
                training_run=training,
                operating_points={"stenosis": 0.5, "herniation": 0.5},
                uid_source=lambda letter=letter: f"2.25.{ord(letter)}",  # type: ignore[misc]
                decided_by="test",
                clock=lambda: NOW,
            )
    note_impacts(context)


def do(context: Context, command: str, **arguments: Any) -> dict[str, Any]:
    given = {"by": "Dr Who", "reason": "why", **arguments}
    return run_operation(context, command, given, lambda _: None)


def promote(context: Context, version: int, *accept: str) -> dict[str, Any]:
    return do(context, "promote", model=f"spine:{version}", accept=list(accept))


def test_an_observation_that_fails_is_not_spoken_of_and_the_event_says_why(
    context: Context,
) -> None:
    done = promote(context, 1)
    assert (done["spoken"], done["not_spoken"]) == (["stenosis"], ["herniation"])
    assert done["missing"] == [
        "herniation: 4 positives in the test fold, 10 are needed (6 missing)"
    ]
    with context.database.read() as session:
        event = session.exec(select(ModelEvent).order_by(col(ModelEvent.id).desc())).first()
        assert event is not None
        assert (event.decided_by, event.reason) == ("Dr Who", "why")
        assert event.details["gate"]["observations"]["herniation"]["positives"] == 4
        assert event.details["gate"]["observations"]["stenosis"]["referenced"] == 2
    [second, first] = ask(context.settings, "models", {})["models"]
    assert (first["stage"], first["not_spoken"]) == ("live", ["herniation"])
    assert second["not_spoken"] == []


def test_a_person_may_accept_what_is_missing_by_name(context: Context) -> None:
    with pytest.raises(errors.Permanent, match="knows no 'positive'"):
        promote(context, 1, "positive")
    done = promote(context, 1, "positives", "drift")
    assert (done["not_spoken"], done["accepted"]) == ([], ["positives"])
    events = ask(context.settings, "model history", {"name": "spine"})["events"]
    assert events[-1]["accepted"] == ["positives"]
    assert (events[-1]["by"], events[-1]["reason"]) == ("Dr Who", "why")


def test_what_the_gate_asked_is_kept_should_somebody_ask_less(context: Context) -> None:
    gate = context.settings.gate.model_copy(update={"minimum_positives": 4})
    object.__setattr__(context, "settings", context.settings.model_copy(update={"gate": gate}))
    assert promote(context, 1)["not_spoken"] == []
    (event,) = (
        each
        for each in ask(context.settings, "model history", {"name": "spine"})["events"]
        if each["stage"] == "live"
    )
    assert "minimum positives 4 (default 10)" in event["asked"]
    assert "minimum auroc 0.6," in event["asked"]


def test_a_decision_that_changes_nothing_says_that_nothing_was_recorded(context: Context) -> None:
    for command, stage in (("models silence", "silent"), ("models retire", "retired")):
        assert "unchanged" not in do(context, command, model="spine:1")
        again = do(context, command, model="spine:1")
        assert (again["stage"], again["unchanged"]) == (stage, True)
        assert "nothing was recorded" in again["note"]
    promote(context, 1)
    assert "nothing was recorded; silence it first" in promote(context, 1, "positives")["note"]


def test_settings_refuse_with_the_numbers(context: Context, tmp_path: Path) -> None:
    gate = context.settings.gate.model_copy(update={"failing": "refuse", "silent_days": 2})
    object.__setattr__(context, "settings", context.settings.model_copy(update={"gate": gate}))
    with pytest.raises(Permanent, match=r"not promoted: herniation: 4 positives.*; 0.0 days"):
        promote(context, 1)
    with context.database.read() as session:
        assert session.exec(select(ModelEvent).where(ModelEvent.stage == "live")).first() is None


def test_labels_of_readers_who_were_of_no_sample_are_no_reference(context: Context) -> None:
    with context.database.write() as session:
        for member in session.exec(select(CohortMember).where(CohortMember.fold == "test")):
            member.fold = "train"
    with pytest.raises(Permanent, match="no test study has sampled, blinded and settled"):
        promote(context, 1, "positives")
    assert promote(context, 1, "positives", "reference")["accepted"] == ["positives", "reference"]


def test_a_model_that_knows_no_domain_has_to_be_accepted(
    context: Context, weights: dict[str, str]
) -> None:
    weights["1"] = "the model knows nothing of its inputs"
    with pytest.raises(Permanent, match="not promoted: the model knows nothing of its inputs"):
        promote(context, 1)
    assert promote(context, 1, "domain")["accepted"] == ["domain"]


def test_weights_that_cannot_be_used_are_put_to_no_work(
    context: Context, weights: dict[str, str]
) -> None:
    promote(context, 1)
    promote(context, 2)
    weights["1"] = "!the weights of spine:1 cannot be used"
    for command, asked in (
        ("promote", {"model": "spine:1"}),
        ("models silence", {"model": "spine:1"}),
        ("models rollback", {"name": "spine"}),
    ):
        with pytest.raises(Permanent, match="weights of spine:1 cannot be used"):
            do(context, command, **asked)
    [live] = [e for e in ask(context.settings, "models", {})["models"] if e["stage"] == "live"]
    assert live["model"] == "spine:2"


def test_weights_that_are_not_there_are_refused_in_one_sentence(context: Context) -> None:
    with context.database.read() as session:
        model = session.get_one(Model, 1)
        run = session.get_one(TrainingRun, 1)
    with pytest.raises(Permanent, match=r"weights of spine:1 cannot be used: .*could not be read"):
        check_weights(context, model, run)


def test_figures_that_were_changed_since_the_registration_are_refused(context: Context) -> None:
    with context.database.write() as session:
        run = session.get_one(TrainingRun, 1)
        run.metrics = {"test": {"observations": {"stenosis": figures(0.99, 30)}}}
        session.add(run)
    with pytest.raises(errors.Permanent, match="figures of spine:1 are not those with which"):
        promote(context, 1)


def test_a_model_of_which_no_figures_were_kept_goes_live_with_a_remark(context: Context) -> None:
    with context.database.write() as session:
        for event in session.exec(select(ModelEvent)):
            event.details = {}
            session.add(event)
    done = promote(context, 1)
    assert any("registered by an earlier version" in each for each in done["remarks"])
    assert "drift was not watched: 0 studies, 150 are needed" in done["remarks"]


def _live_before_the_gate(context: Context, version: int) -> None:
    with context.database.write() as session:
        live(session, f"spine:{version}", decided_by="old", reason="early", clock=lambda: NOW)


def test_a_model_that_was_live_before_the_gate_can_be_judged(context: Context) -> None:
    _live_before_the_gate(context, 1)
    with pytest.raises(errors.Permanent, match="who decided and why"):
        do(context, "promote", model="spine:1", by="", reason="")
    assert promote(context, 1)["not_spoken"] == ["herniation"]
    events = ask(context.settings, "model history", {"name": "spine"})["events"]
    assert [each["stage"] for each in events if each["model"] == "spine:1"] == [
        "candidate", "live", "live",
    ]  # fmt: skip
    assert promote(context, 1)["unchanged"]
    with pytest.raises(errors.Permanent, match="who decided and why"):
        do(context, "promote", model="spine:1", by="", reason="")


def test_a_rollback_to_what_no_gate_has_judged_asks_the_gate(context: Context) -> None:
    _live_before_the_gate(context, 1)
    promote(context, 2)
    with context.database.write() as session:
        session.add(_note(1, STUDIES[2], "its report has a later version"))
    with pytest.raises(Permanent, match="spine:1 is not restored: 1 impact notes are open"):
        do(context, "models rollback", name="spine")
    done = do(context, "models rollback", name="spine", accept=["impact"])
    assert (done["model"], done["not_spoken"]) == ("spine:1", ["herniation"])


def test_the_monitor_is_asked_while_others_may_write(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def look(settings: Settings, session: Session, model: Model) -> Evidence:
        found = silent_evidence(settings, session, model)
        looks.append(found.seen)
        with context.database.write() as other:  # waits for ever where a transaction is open
            _predict_as(context, other, 1, STUDIES[len(looks)], Stage.SILENT)
        return found

    monkeypatch.setattr("plugin.stages.registry.silent_evidence", look)
    done = promote(context, 1)
    assert len(set(looks)) == len(looks) == 3
    assert any("later ones came in meanwhile" in each for each in done["remarks"])


def test_open_impact_notes_refuse_until_a_person_closes_each(context: Context) -> None:
    with context.database.write() as session:
        for cause in ("its report was withdrawn or cancelled", "its report has a later version"):
            session.add(_note(1, STUDIES[2], cause))
        session.add(_note(1, STUDIES[3], "an object of the study is in quarantine"))
        session.flush()
        session.add(_note(1, STUDIES[3], "", stale=False))  # it was released
    with pytest.raises(Permanent, match="1 impact notes are open") as refused:
        promote(context, 1)
    assert "later version" in str(refused.value)
    notes = ask(context.settings, "model history", {"name": "spine"})["notes"]
    [number] = [each["note"] for each in notes if each["open"]]
    with pytest.raises(errors.Permanent, match="who decided and why"):
        do(context, "models close-note", note=number, reason=" ")
    do(context, "models close-note", note=number)
    with pytest.raises(errors.Permanent, match="closed already, by Dr Who"):
        do(context, "models close-note", note=number)
    with pytest.raises(errors.Permanent, match="nothing stale"):
        do(context, "models close-note", note=number + 2)
    assert promote(context, 1)["stage"] == "live"
    with context.database.write() as session:
        session.add(_note(2, STUDIES[2], "its link is not confirmed any more"))
    with pytest.raises(Permanent, match="impact notes"):
        promote(context, 2)
    assert promote(context, 2, "impact")["accepted"] == ["impact"]


def _note(model: int, study: str, cause: str, *, stale: bool = True) -> ImpactNote:
    return ImpactNote(
        artefact="model", artefact_id=model, study_instance_uid=study, cause=cause, stale=stale,
        noted_at=NOW,
    )  # fmt: skip


def _predict_as(
    context: Context, session: Session, model_id: int, uid: str, stage: Stage
) -> list[Prediction]:
    rows = [SitePrediction("stenosis", "L4-L5", 0.9)]
    digest, model = study_digest(session, uid), session.get_one(Model, model_id)
    stages = {"stenosis": stage}
    return store_predictions(session, model, uid, digest, rows, {}, context.clock, stages)


def _predict(context: Context, session: Session, model: Model, uid: str) -> list[Prediction]:
    rows = [SitePrediction(name, "L4-L5", 0.9) for name in ("stenosis", "herniation")]
    stages = stages_now(session, model, {row.observation for row in rows})
    assert stages is not None
    digest = study_digest(session, uid)
    points = model.operating_points
    return store_predictions(session, model, uid, digest, rows, points, context.clock, stages)


def test_what_is_silent_makes_no_structured_report_ever(context: Context) -> None:
    do(context, "models silence", model="spine:1")
    with context.database.write() as session:
        model = session.get_one(Model, 1)
        stored = _predict(context, session, model, STUDIES[0])
        assert {row.stage for row in stored} == {"silent"}
        # Without evidence a report could not be built: none is even begun.
        Predictor(context)._report(session, model, STUDIES[0], stored, [])
    promote(context, 1)
    with context.database.write() as session:
        model = session.get_one(Model, 1)
        again = _predict(context, session, model, STUDIES[0])
        assert {row.stage for row in again} == {"silent"}
        Predictor(context)._report(session, model, STUDIES[0], again, [])
        new = _predict(context, session, model, STUDIES[1])
        assert {row.observation: row.stage for row in new} == {
            "stenosis": "live",
            "herniation": "silent",
        }
        assert session.exec(select(Transmission)).all() == []
        assert not any(row.sop_instance_uid for row in session.exec(select(Prediction)))


def test_a_model_that_was_retired_meanwhile_predicts_nothing(context: Context) -> None:
    with context.database.write() as session:
        assert stages_now(session, session.get_one(Model, 1), {"stenosis"}) is None
    do(context, "models silence", model="spine:1")
    do(context, "models retire", model="spine:1")
    with context.database.write() as session:
        assert stages_now(session, session.get_one(Model, 1), {"stenosis"}) is None


def _queued(context: Context, model_id: int, studies: Sequence[str]) -> None:
    """Have a live model predict on studies, and its structured reports wait to be sent."""
    with context.database.write() as session:
        model = session.get_one(Model, model_id)
        for uid in studies:
            name = f"2.25.{model_id}.{uid}"
            rows = [row for row in _predict(context, session, model, uid) if row.stage == "live"]
            record_carrier(session, rows, name)
            session.add(
                Transmission(
                    sop_instance_uid=name, sop_class_uid="1.2", study_instance_uid=uid,
                    peer="pacs", path=f"{name}.dcm", created_at=NOW,
                )
            )  # fmt: skip


@pytest.fixture
def archive(context: Context, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Name an archive that takes everything; return the names of what it took."""
    taken: list[str] = []

    def send(_peer: Any, _title: str, paths: list[Path], *_: Any) -> list[SendResult]:
        taken.extend(path.stem for path in paths)
        return [SendResult(path, path.stem, 0, Outcome.DELIVERED) for path in paths]

    monkeypatch.setattr("plugin.stages.send.send_instances", send)
    monkeypatch.setattr("plugin.stages.send._identity_conflict", lambda *_: "")
    peer = PacsPeer(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)
    changed = context.settings.model_copy(update={"pacs": (peer,)})
    object.__setattr__(context, "settings", changed)
    return taken


def _sweep(context: Context) -> dict[str, str]:
    """Send what waits; return what became of each structured report."""
    with context.database.read() as session:
        waiting = waiting_transmissions(session)
    for row in waiting:
        assert send_report(context, row.sop_instance_uid, row.peer, 1) is None
    with context.database.read() as session:
        rows = session.exec(select(Transmission).order_by(col(Transmission.id))).all()
        return {row.sop_instance_uid: f"{row.state} {row.last_error}".strip() for row in rows}


def test_after_a_rollback_the_queue_of_the_other_version_is_not_sent(
    context: Context, archive: list[str]
) -> None:
    promote(context, 1)
    promote(context, 2)
    _queued(context, 2, STUDIES[:3])
    do(context, "models rollback", name="spine")
    _queued(context, 1, STUDIES[3:4])
    said = _sweep(context)
    assert archive == [f"2.25.1.{STUDIES[3]}"]
    gone = "failed not sent: its model spine:2 is retired now, not live"
    assert list(said.values()) == [gone, gone, gone, "delivered"]
    name = f"2.25.2.{STUDIES[0]}"
    with pytest.raises(Permanent, match="not sent again: its model spine:2 is retired"):
        do(context, "sr resend", sop_instance_uid=name)
    promote(context, 2)
    assert do(context, "sr resend", sop_instance_uid=name) == {"queued": 1}
    assert _sweep(context)[name] == "delivered"


def test_what_a_model_may_no_longer_speak_of_is_not_sent(
    context: Context, archive: list[str]
) -> None:
    promote(context, 1, "positives")  # of herniation, too
    _queued(context, 1, STUDIES[:1])
    do(context, "models silence", model="spine:1")
    promote(context, 1)
    [said] = _sweep(context).values()
    assert said == "failed not sent: its model spine:1 does not speak of herniation now"
    assert archive == []


def test_a_prediction_that_began_in_silence_stays_silent(context: Context) -> None:
    do(context, "models silence", model="spine:1")
    with context.database.read() as session:
        began = newest_event(session, session.get_one(Model, 1))
    promote(context, 1)
    asked = {"stenosis", "herniation"}
    with context.database.write() as session:
        model = session.get_one(Model, 1)
        assert stages_since(session, model, asked, began) == dict.fromkeys(asked, Stage.SILENT)
        now = newest_event(session, model)
        stages = stages_since(session, model, asked, now)
        assert stages == {"stenosis": Stage.LIVE, "herniation": Stage.SILENT}


def test_a_prediction_that_runs_while_its_model_goes_live_is_stored_as_silent(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(context, "models silence", model="spine:1")

    class Child:
        def run(self, *_: Any) -> list[dict[str, Any]]:
            promote(context, 1)
            return [{"observation": "stenosis", "site": "L4-L5", "probability": 0.9, "reason": ""}]

    with context.database.read() as session:
        digest = study_digest(session, STUDIES[0])
    predictor = Predictor(context)
    monkeypatch.setattr(predictor, "_running_child", Child)
    monkeypatch.setattr(predictor, "_job", lambda *_: ({}, []))
    predictor.predict(1, STUDIES[0], digest)
    with context.database.read() as session:
        [row] = session.exec(select(Prediction)).all()
        assert (row.stage, row.sop_instance_uid) == ("silent", "")
        assert session.exec(select(Transmission)).all() == []


def test_rows_of_a_model_that_was_live_make_no_report_while_it_is_silent(context: Context) -> None:
    promote(context, 1)
    with context.database.write() as session:
        rows = _predict(context, session, session.get_one(Model, 1), STUDIES[0])
    do(context, "models silence", model="spine:1")
    with context.database.write() as session:
        Predictor(context)._report(session, session.get_one(Model, 1), STUDIES[0], rows, [])
        assert session.exec(select(Transmission)).all() == []


def test_a_silent_model_takes_what_arrives_and_a_live_one_the_archive_too(
    context: Context,
) -> None:
    promote(context, 1)
    do(context, "models silence", model="spine:2")
    with context.database.write() as session:
        waiting = waiting_predictions(context, session)
        assert {each.model_id for each in waiting} == {1}
        of_study = col(Instance.sop_instance_uid).startswith(f"{STUDIES[4]}.")
        image = session.exec(select(Instance).where(of_study)).one()
        image.received_at = context.clock()
        session.add(image)
    with context.database.read() as session:
        waiting = waiting_predictions(context, session)
        assert [e.study_instance_uid for e in waiting if e.model_id == 2] == [STUDIES[4]]
        assert len([e for e in waiting if e.model_id == 1]) == len(STUDIES)


def test_a_rollback_says_which_version_it_restored(context: Context) -> None:
    promote(context, 1)
    promote(context, 2)
    done = do(context, "models rollback", name="spine")
    assert (done["model"], done["in_place_of"]) == ("spine:1", "spine:2")
    assert done["not_spoken"] == ["herniation"]
    events = ask(context.settings, "model history", {"name": "spine"})["events"]
    assert [(each["model"], each["stage"], each["how"]) for each in events[-2:]] == [
        ("spine:2", "retired", ""),
        ("spine:1", "live", "rollback from version 2"),
    ]


def test_the_command_line_decides_and_shows(context: Context, tmp_path: Path) -> None:
    config = str(tmp_path / "radloop.toml")
    runner = CliRunner()

    def run(*arguments: str) -> str:
        done = runner.invoke(app, ["models", *arguments, "--config", config])
        assert done.exit_code == 0, done.output
        return done.output

    assert "silent" in run("silence", "spine:1", "--reason", "to look at it", "--by", "Dr Who")
    said = run("promote", "spine:1", "--reason", "good", "--accept", "positives", "--by", "me")
    assert "accepted: positives" in said
    assert "spine:1" in run("retire", "spine:1", "--reason", "bad", "--by", "me")
    assert "to look at it" in run("history", "spine", "--json")
    assert "retired" in run("list", "--json")
    number = runner.invoke(
        app, ["models", "close-note", "9" * 23, "--reason", "x", "--config", config]
    )
    assert number.exit_code == 2
