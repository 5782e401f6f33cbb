"""The stages of the research side on a small node: label, reference, cohort, and their errors."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from sqlmodel import col, select

from dicom_node.messages import receive as file_messages
from labeling.disagreements import newest_runs, note_disagreements
from labeling.models import Calibration, Label, LabelingRun, Qualification, RunInForce
from labeling.runs import LabelerIdentity, open_run, result_of_label, store_labels
from labeling.standing import configuration_of, put_in_force
from labeling.thresholds import Threshold, Thresholds, conditions
from labeling.vocabulary import State
from plugin.context import Context, open_context
from plugin.control import ControlServer
from plugin.errors import ChildFailed, Permanent
from plugin.folders import DataFolder
from plugin.operations import operate, run_operation
from plugin.questions import ask
from plugin.settings import Settings, load_settings
from plugin.settings_template import render
from plugin.stages.cohort import newest_run
from plugin.stages.label import anything_unread, label_reports
from tests.hl7_builders import oru

TEXT = ("FINDINGS: L4-L5: severe spinal canal stenosis. No disc herniation.",)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "radloop.toml"
    text = render().replace('default_charset = "ascii"', 'default_charset = "utf-8"')
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


@pytest.fixture
def context(settings: Settings) -> Iterator[Context]:
    with open_context(settings) as context:
        yield context


def receive(context: Context, number: int) -> None:
    message = oru(control_id=f"M{number}", filler=f"F{number}", accession=f"A{number}", lines=TEXT)
    file_messages(
        context.database,
        message,
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )


def test_a_labeler_reads_each_report_once_in_a_child(context: Context) -> None:
    for number in range(3):
        receive(context, number)
    lines: list[str] = []
    first = label_reports(context, "rules", lines.append)
    assert first["reports"] == 3
    places = sum(1 + len(each.sites) for each in context.schema().observations)
    assert first["labels"] == 3 * places
    assert lines[-1].startswith("rules: 3 of 3 reports, ")
    receive(context, 3)
    assert label_reports(context, "rules", lines.append)["reports"] == 1


def states(context: Context, run: int) -> dict[tuple[int, str, str], str]:
    with context.database.read() as session:
        rows = session.exec(select(Label).where(Label.run_id == run))
        return {(row.report_id, row.observation, row.site): row.state for row in rows}


def calibrate(context: Context, run: int, thresholds: Thresholds) -> None:
    with context.database.write() as session:
        of = configuration_of(session.get_one(LabelingRun, run))
        session.add(
            Calibration(
                **asdict(of),
                thresholds=thresholds.to_json(),
                digest=thresholds.digest,
                n_reports=10,
                reference_digest="of a test",
                summary={"accepted": []},
                fitted_at=context.clock(),
            )
        )


def test_a_new_calibration_decides_stored_margins_and_reads_nothing_again(
    context: Context,
) -> None:
    receive(context, 1)
    first = label_reports(context, "rules", lambda _: None)
    # No margin of the rules is as high as this: nothing is present any more.
    nothing = Threshold(1e9, 1e9, fitted_on=10, positives=5)
    names = [each.id for each in context.schema().observations]
    strict = Thresholds(dict.fromkeys(names, nothing), dict.fromkeys(names, nothing))
    calibrate(context, first["run"], strict)
    with context.database.read() as session:
        assert anything_unread(session, "rules")
    again = label_reports(context, "rules", lambda _: None)
    assert (again["reports"], again["decided_again"], again["calibrated"]) == (1, 1, True)
    assert again["run"] != first["run"]
    assert "present" in states(context, first["run"]).values()
    assert "present" not in states(context, again["run"]).values()
    with context.database.read() as session:
        assert not anything_unread(session, "rules")


def test_a_calibration_that_comes_again_leads_back_to_its_run(context: Context) -> None:
    receive(context, 1)
    bare = label_reports(context, "rules", lambda _: None)["run"]
    first, second = (
        Thresholds({"stenosis": Threshold(at, at, fitted_on=10, positives=5)}) for at in (0.0, 90.0)
    )
    runs = []
    for each in (first, second, first):
        calibrate(context, bare, each)
        runs.append(label_reports(context, "rules", lambda _: None)["run"])
    assert runs[0] == runs[2] != runs[1]
    with context.database.read() as session:
        assert not anything_unread(session, "rules")
        assert newest_run(session, "rules", context.schema()) == runs[0]
    calibrate(context, bare, Thresholds({"stenosis": Threshold(1.0, 1.0, fitted_on=10)}))
    given = {"name": "c", "labeler": "rules", "accepted": ["unqualified"]}
    with pytest.raises(Permanent, match="earlier calibration"):
        run_operation(context, "cohort freeze", given, lambda _: None)


def test_a_model_that_comes_back_is_in_force_again(context: Context) -> None:
    receive(context, 1)
    first = label_reports(context, "rules", lambda _: None)["run"]
    with context.database.write() as session:
        other = LabelerIdentity("rules", "another model", "p")
        tried = open_run(session, other, context.schema(), context.clock)
        put_in_force(session, tried, context.clock)
        assert newest_run(session, "rules", context.schema()) == tried.id != first
    for _ in range(2):
        assert label_reports(context, "rules", lambda _: None)["run"] == first
    with context.database.read() as session:
        assert newest_run(session, "rules", context.schema()) == first
        noted = session.exec(select(RunInForce.run_id).order_by(col(RunInForce.id))).all()
        assert noted == [first, tried.id, first]
        assert not anything_unread(session, "rules")


def test_labels_that_nobody_calibrated_or_qualified_enter_no_cohort(context: Context) -> None:
    receive(context, 1)
    run = label_reports(context, "rules", lambda _: None)["run"]
    arguments = {"name": "c", "labeler": "rules"}

    def freeze(*accepted: str) -> dict[str, object]:
        given = {**arguments, "accepted": accepted}
        return run_operation(context, "cohort freeze", given, lambda _: None)

    with pytest.raises(Permanent, match="uncalibrated"):
        freeze()
    with pytest.raises(Permanent, match="unqualified"):
        freeze("uncalibrated")
    assert freeze("uncalibrated", "unqualified")["accepted"] == "uncalibrated, unqualified"
    fitted = Threshold(0.0, 0.0, fitted_on=10)
    calibrate(context, run, Thresholds({"stenosis": fitted}))
    label_reports(context, "rules", lambda _: None)
    # What one observation has been fitted for says nothing of the others, nor of its levels.
    with pytest.raises(Permanent, match=r"uncalibrated for disc_narrowing, .*stenosis at its"):
        freeze("unqualified")
    partly = freeze("uncalibrated", "unqualified")
    assert partly["accepted"] == "uncalibrated, unqualified"
    assert "cancer" in partly["uncalibrated"]
    assert "stenosis," not in partly["uncalibrated"]
    names = [each.id for each in context.schema().observations]
    everything = dict.fromkeys(names, fitted)
    calibrate(context, run, Thresholds(everything))
    label_reports(context, "rules", lambda _: None)
    with pytest.raises(Permanent, match="uncalibrated for disc_narrowing at its sites"):
        freeze("unqualified")
    calibrate(context, run, Thresholds(everything, everything))
    label_reports(context, "rules", lambda _: None)
    whole = freeze("unqualified")
    assert (whole["accepted"], whole["uncalibrated"]) == ("unqualified", "")


def test_a_verdict_must_speak_of_the_levels_that_a_cohort_takes(context: Context) -> None:
    receive(context, 1)
    run = label_reports(context, "rules", lambda _: None)["run"]
    schema = context.schema()
    fitted = dict.fromkeys([each.id for each in schema.observations], Threshold(fitted_on=10))
    thresholds = Thresholds(fitted, fitted)
    calibrate(context, run, thresholds)
    label_reports(context, "rules", lambda _: None)

    def verdict(judged: tuple[str, ...], unjudged: tuple[str, ...] = ()) -> None:
        figures = {"observations": {name: {} for name in judged}, "unjudged": list(unjudged)}
        figures |= {"accepted": []}
        with context.database.write() as session:
            of = configuration_of(session.get_one(LabelingRun, run))
            session.add(
                Qualification(
                    **asdict(of),
                    calibration_digest=thresholds.digest,
                    qualified=True,
                    figures=figures,
                    measured_at=context.clock(),
                )
            )

    def freeze() -> dict[str, object]:
        given = {"name": "c", "labeler": "rules", "accepted": ()}
        return run_operation(context, "cohort freeze", given, lambda _: None)

    verdict(tuple(fitted))
    with pytest.raises(Permanent, match="unqualified"):
        freeze()
    every = conditions(schema)
    verdict(tuple(fitted), unjudged=every[len(fitted) :])
    assert "stenosis at its sites" in str(freeze()["unjudged"])
    verdict(every)
    assert freeze()["unjudged"] == ""


def test_where_two_labelers_differ_is_stored_once(context: Context) -> None:
    receive(context, 1)
    run = label_reports(context, "rules", lambda _: None)["run"]
    with context.database.write() as session:
        other = LabelerIdentity("other", "m", "p")
        rival = open_run(session, other, context.schema(), context.clock)
        rows = session.exec(select(Label).where(Label.run_id == run)).all()
        told = [result_of_label(row) for row in rows]
        told = [replace(each, state=State.ABSENT) for each in told]
        others = newest_runs(session, rival)
        store_labels(session, rival, 1, told, context.clock)
        found = note_disagreements(session, rival, others, 1, told, context.clock)
        assert found == sum(row.state != "absent" for row in rows) > 0
    listed = ask(context.settings, "disagreements", {"limit": 5})
    assert listed["disagreements"][0]["labelers"] == "other / rules"
    assert len(listed["reports"]) <= 5
    # What the new calibration says takes the place of what the one before said of each report.
    calibrate(context, run, Thresholds({"stenosis": Threshold(0.0, 0.0, fitted_on=10)}))
    label_reports(context, "rules", lambda _: None)
    listed = ask(context.settings, "disagreements", {"limit": 500})
    assert {each["labelers"] for each in listed["reports"]} == {"rules / other"}
    assert len(listed["reports"]) == sum(each["reports"] for each in listed["disagreements"])


def test_a_labeler_that_the_settings_do_not_name_is_refused(context: Context) -> None:
    with pytest.raises(Permanent, match=r"labeling\.labelers: rules, token_scores"):
        label_reports(context, "stranger", lambda _: None)


def test_reference_labels_come_in_once_and_problems_name_their_line(
    context: Context, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "level,subject,observation,site,reader,state\n"
        "report,A1,stenosis,whole,R1,present\n"
        "report,A1,headache,whole,R1,present\n",
        encoding="utf-8",
    )
    arguments = {"path": str(path)}
    first = run_operation(context, "reference import", arguments, lambda _: None)
    assert (first["imported"], first["problems"][0]["line"]) == (1, 3)
    again = run_operation(context, "reference import", arguments, lambda _: None)
    assert (again["imported"], again["unchanged"]) == (0, 1)


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        ("cohort freeze", {"name": "c", "labeler": "rules"}, "has not read any report"),
        ("train", {"cohort": "c", "name": "m"}, "no cohort"),
        ("promote", {"model": "m", "by": "me", "reason": "why"}, "no model"),
        ("sr resend", {"sop_instance_uid": "1.2"}, "no failed transmission"),
        ("fly", {}, "does not know the command"),
    ],
)
def test_what_cannot_be_done_says_why(
    context: Context, command: str, arguments: dict[str, str], reason: str
) -> None:
    with pytest.raises(Exception, match=reason) as refused:
        run_operation(context, command, arguments, lambda _: None)
    assert type(refused.value).__name__ == "Permanent"


def test_commands_go_through_the_running_node_and_else_run_here(settings: Settings) -> None:
    folder = DataFolder(settings.data_folder)
    folder.create()
    done = operate(settings, "predict", {"now": True}, lambda _: None)
    assert done == {"predicted": 0}
    with folder.exclusive(), open_context(settings) as context:
        server = ControlServer(
            folder.control_socket,
            lambda *asked: {"by": "the node", **run_operation(context, *asked)},
        )
        try:
            done = operate(settings, "predict", {"now": True}, lambda _: None)
            assert done == {"by": "the node", "predicted": 0}
        finally:
            server.close()


def test_questions_before_anything_arrived(settings: Settings) -> None:
    with pytest.raises(Permanent, match="start the node first"):
        ask(settings, "models", {})


def test_questions_answer_in_json(context: Context) -> None:
    receive(context, 1)
    for question in ("labelers", "models", "reports", "language models", "links"):
        json.dumps(ask(context.settings, question, {}))
    (unlinked,) = ask(context.settings, "links", {})["unlinked"]
    assert "no study with this accession number" in unlinked["reason"]
    why = ask(context.settings, "explain", {"what": str(unlinked["report"])})
    json.dumps(why)


def test_a_killed_child_is_reported_as_transient(context: Context, tmp_path: Path) -> None:
    from plugin.child import ChildProcess

    with ChildProcess(tmp_path / "log", threads=1) as child:
        child._process.kill()
        child._process.wait()
        with pytest.raises(ChildFailed):
            list(child.run("label", {}, lambda _: None))


def test_a_task_that_fails_says_why_and_the_child_lives_on(tmp_path: Path) -> None:
    from plugin.child import ChildProcess

    with ChildProcess(tmp_path / "log", threads=1) as child:
        with pytest.raises(Permanent, match="KeyError"):
            list(child.run("label", {}, lambda _: None))
        assert child.alive
        with pytest.raises(Permanent):
            list(child.run("no such task", {}, lambda _: None))


def test_a_library_that_quotes_a_report_is_not_quoted(tmp_path: Path) -> None:
    from plugin.child import ChildProcess

    settings = {"language_model": {"threads": "CANARY", "api_key": ["CANARY"]}}
    job = {"labeler": "rules", "settings": settings, "model_store": "", "reports": []}
    with ChildProcess(tmp_path / "log", threads=1) as child:
        with pytest.raises(Permanent, match=r"unexpected ValidationError at \w+\.py") as error:
            list(child.run("label", job, lambda _: None))
        assert "CANARY" not in str(error.value)
    assert "CANARY" not in (tmp_path / "log").read_text("utf-8")
