"""Calibrate, evaluate, compare and qualify on a small node, and on a file that no node knows."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select
from typer.testing import CliRunner

from dicom_node.messages import receive as file_messages
from labeling.evaluation.calibration import FitRule, cross_fitted
from labeling.evaluation.cases import Case
from labeling.labeler import LabelResult
from labeling.models import Calibration, LabelingRun, Qualification
from labeling.reference_file import COLUMNS, OPTIONAL_COLUMNS
from labeling.runs import LabelerIdentity, open_run, reports_without_labels, store_labels
from labeling.thresholds import Thresholds
from labeling.vocabulary import WHOLE, State
from plugin.cli import app
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.operations import run_operation
from plugin.questions import ask
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.evaluate import HELD_OUT, SAME_LABELS, UNCALIBRATED_STATES, was_fitted_on
from plugin.stages.ground import ground_of
from plugin.stages.judged import Judged, stored_readings, text_keys
from plugin.stages.labelled import file_reports, node_reports
from tests.hl7_builders import oru

COUNT = 30
PRESENT = "L4-L5: severe spinal canal stenosis."
ABSENT = "L4-L5: no spinal canal stenosis."
QUOTE = "spinal canal stenosis"
RULE = {"cut": "balanced_accuracy", "band": "none"}
CALIBRATE = {"labeler": "token_scores", "rule": RULE, "folds": 5, "by": "me", "output": ""} | {
    "accept_unsampled": True
}
EVALUATE = {"labeler": "token_scores", "folds": 5, "resamples": 50, "errors": 5, "output": ""}


def is_present(number: int) -> bool:
    return number % 2 == 0


def margin_of(number: int) -> float:
    """Return margins around 7, of which two lie on the wrong side."""
    turned = number in {4, 9}
    return 7.0 + (1 if is_present(number) is not turned else -1) * (1 + number / 100)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "radloop.toml"
    text = render().replace('default_charset = "ascii"', 'default_charset = "utf-8"')
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def context(config: Path) -> Iterator[Context]:
    with open_context(load_settings(config)) as context:
        for number in range(COUNT):
            receive(context, number)
        yield context


def receive(context: Context, number: int) -> None:
    message = oru(
        control_id=f"M{number}",
        filler=f"F{number}",
        accession=f"A{number}",
        patient=f"P{number // 2}^^^HOSP^MR",
        lines=(f"FINDINGS: {PRESENT if is_present(number) else ABSENT}",),
    )
    file_messages(
        context.database,
        message,
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )


def references(path: Path, level: str, subjects: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow((*COLUMNS, *OPTIONAL_COLUMNS))
        for number, subject in enumerate(subjects):
            state = "present" if is_present(number) else "absent"
            said = ("severe" if is_present(number) else "", QUOTE, "yes", "random")
            writer.writerow((level, subject, "stenosis", WHOLE, "reader 1", state, *said))
    return path


def import_references(context: Context, path: Path) -> None:
    done = run_operation(context, "reference import", {"path": str(path)}, lambda _: None)
    assert (done["imported"], done["problems"]) == (COUNT, [])


def store_margins(context: Context, calibration: str = "") -> None:
    schema = context.schema()
    identity = LabelerIdentity("token_scores", "1" * 64, "2" * 64, "a model")
    with context.database.write() as session:
        run = open_run(session, identity, schema, context.clock, calibration)
        for report in reports_without_labels(session, run):
            number = int(report.accession_number[1:])
            start = report.text.index(QUOTE)
            results = [
                LabelResult(each.id, site, State.NOT_MENTIONED)
                for each in schema.observations
                for site in (WHOLE, *each.sites)
                if (each.id, site) != ("stenosis", WHOLE)
            ]
            span = (start, start + len(QUOTE))
            margin = margin_of(number)
            said = State.PRESENT if margin > 0 else State.ABSENT
            results.append(LabelResult("stenosis", WHOLE, said, margin=margin, evidence=(span,)))
            store_labels(session, run, report.id or 0, results, context.clock)


def prepared(context: Context, tmp_path: Path) -> None:
    path = references(tmp_path / "read.csv", "report", [f"A{n}" for n in range(COUNT)])
    import_references(context, path)
    store_margins(context)


def evaluation(context: Context, **changed: Any) -> dict[str, Any]:
    return ask(context.settings, "evaluation", {**EVALUATE, **changed})


def test_a_calibration_is_stored_and_later_figures_are_held_out(
    context: Context, tmp_path: Path
) -> None:
    prepared(context, tmp_path)
    before = evaluation(context)
    assert before["judged_by"] == UNCALIBRATED_STATES
    [stenosis] = before["figures"]
    assert (stenosis["n"], stenosis["present"], stenosis["specificity"]) == (COUNT, 15, 0.0)
    assert stenosis["brier"] is None
    output = tmp_path / "thresholds.json"
    arguments = {**CALIBRATE, "output": str(output)}
    done = run_operation(context, "labeler calibrate", arguments, lambda _: None)
    [row] = done["thresholds"]
    assert 6 < row["present_above"] < 8
    # Two of thirty margins lie on the wrong side; a fold's own cut may miss another one.
    assert 0.8 < row["held_out_balanced_accuracy"] < 0.94
    with context.database.read() as session:
        stored = session.exec(select(Calibration)).one()
        assert stored.summary["reference_labels"] == [[1, COUNT]]
    assert Thresholds.from_json(output.read_text("utf-8")).digest == stored.digest == done["digest"]
    after = evaluation(context)
    assert after["judged_by"].startswith("5-fold cross-validation by patient")
    [stenosis] = after["figures"]
    assert stenosis["balanced_accuracy"] == pytest.approx(row["held_out_balanced_accuracy"], 1e-3)
    assert stenosis["auroc_low"] <= stenosis["auroc"] <= stenosis["auroc_high"]
    assert stenosis["calibration_error"] is not None
    assert after["readers"].startswith(f"1; blinded to machines for {COUNT} of {COUNT} labels")
    [evidence] = after["evidence"]
    assert (evidence["touched"], evidence["overlap"]) == (1.0, 1.0)
    assert evaluation(context, folds=0)["judged_by"] == SAME_LABELS


def test_an_evaluation_leaves_pictures_figures_and_the_words_of_errors(
    context: Context, tmp_path: Path
) -> None:
    prepared(context, tmp_path)
    run_operation(context, "labeler calibrate", CALIBRATE, lambda _: None)
    found = evaluation(context, output=str(tmp_path / "seen"))
    assert {error["report"] for error in found["worst_errors"]} >= {"A4", "A9"}
    assert {error["words_of_evidence"] for error in found["worst_errors"]} == {QUOTE}
    names = {Path(each).name for each in found["files"]}
    assert names >= {"figures.png", "reliability.png", "confusion.png"}
    for name in names:
        content = (tmp_path / "seen" / name).read_bytes()
        assert content.startswith(b"\x89PNG") or json.loads(content)
    assert QUOTE not in (tmp_path / "seen" / "evaluation.json").read_text("utf-8")


def test_a_later_reader_judges_by_the_thresholds_that_were_fitted_before(
    context: Context, tmp_path: Path
) -> None:
    prepared(context, tmp_path)
    run_operation(context, "labeler calibrate", CALIBRATE, lambda _: None)
    cross_validated = evaluation(context)["judged_by"]

    def rests_on(**changed: Any) -> str:
        with context.database.write() as session:
            calibration = session.exec(select(Calibration)).one()
            calibration.summary = {**calibration.summary, **changed}
            session.add(calibration)
        return str(evaluation(context)["judged_by"])

    # Labels of another reader, but of the reports that the thresholds know.
    assert rests_on(reference_labels=[[1000, 2000]]) == cross_validated != HELD_OUT
    assert rests_on(texts=[]) == HELD_OUT


def test_a_report_of_the_node_is_known_again_in_a_file(context: Context, tmp_path: Path) -> None:
    prepared(context, tmp_path)
    run_operation(context, "labeler calibrate", CALIBRATE, lambda _: None)
    with context.database.read() as session:
        reports = node_reports(session)
    known, other = tmp_path / "known.csv", tmp_path / "other.csv"
    for path, ending in ((known, "\n\n"), (other, " Small cyst.")):
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("id", "report"))
            writer.writerows((n, each.text.upper() + ending) for n, each in enumerate(reports))
    names = [str(number) for number in range(COUNT)]
    import_references(context, references(tmp_path / "again.csv", "file", names))
    with context.database.read() as session:
        calibration = session.exec(select(Calibration)).one()
        settings = context.settings
        salt = ground_of(settings).salt

        def judged(path: Path) -> Judged:
            labelled = file_reports(session, path, "utf-8")
            stored = stored_readings(session, settings, "token_scores")
            own = {each.name: each for each in labelled.reports}
            return replace(stored, reports=own, texts=text_keys(labelled.reports, salt))

        assert was_fitted_on(calibration, judged(known))
        assert not was_fitted_on(calibration, judged(other))


def test_an_accession_number_of_two_patients_is_nobodys_reference(
    context: Context, tmp_path: Path
) -> None:
    prepared(context, tmp_path)
    message = oru(
        control_id="again",
        filler="another",
        accession="A3",
        patient="STRANGER^^^ELSEWHERE^MR",
        lines=(f"FINDINGS: {PRESENT}",),
    )
    file_messages(
        context.database,
        message,
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )
    with context.database.read() as session:
        assert "A3" not in {each.name for each in node_reports(session)}
    found = evaluation(context)
    assert found["reports"] == COUNT - 1
    assert found["readers"].endswith("1 accession numbers of several patients are left out")


def test_agreement_counts_runs_of_the_schema_of_the_settings_alone(
    context: Context, tmp_path: Path
) -> None:
    prepared(context, tmp_path)
    found = ask(context.settings, "agreement", {})
    assert found["chosen"] == "token_scores"
    assert {row["n"] for row in found["agreement"]} == {COUNT}
    with context.database.write() as session:
        for run in session.exec(select(LabelingRun)):
            run.schema_digest = "of another schema"
            session.add(run)
    with pytest.raises(Permanent, match="labelled by schema 'spine'"):
        ask(context.settings, "agreement", {})


def test_folds_are_fitted_by_the_rule_of_the_calibration(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(context, tmp_path)
    run_operation(context, "labeler calibrate", CALIBRATE, lambda _: None)
    rules: list[FitRule] = []

    def fitted(*cases: Any, rule: FitRule, **more: Any) -> list[Case]:
        rules.append(rule)
        return cross_fitted(*cases, rule=rule, **more)

    monkeypatch.setattr("plugin.stages.evaluate.cross_fitted", fitted)
    evaluation(context)
    assert [(each.cut, each.band) for each in rules] == [("balanced_accuracy", "none")]


def test_two_labelers_are_compared_report_by_report(context: Context, tmp_path: Path) -> None:
    prepared(context, tmp_path)
    same = {**EVALUATE, "other": "token_scores"}
    found = ask(context.settings, "comparison", same)
    assert {row["difference"] for row in found["differences"]} == {0.0}
    assert {row["same_state"] for row in found["differences"]} == {1.0}


def test_nothing_to_judge_is_said(context: Context, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="has read no report that a reader has labelled"):
        evaluation(context)
    with pytest.raises(Permanent, match="not in the settings"):
        evaluation(context, labeler="student")
    path = tmp_path / "reports.csv"
    path.write_text("id,report\n1,No stenosis.\n", encoding="utf-8")
    with pytest.raises(Permanent, match="labelled no report of this file"):
        evaluation(context, labeler="rules", reports=str(path))
    import_references(
        context, references(tmp_path / "r.csv", "report", [f"A{n}" for n in range(COUNT)])
    )
    with context.database.write() as session:
        identity = LabelerIdentity("rules", "1" * 64, "")
        run = open_run(session, identity, context.schema(), context.clock)
        whole = [LabelResult("stenosis", WHOLE, State.ABSENT)]
        store_labels(session, run, 1, whole, context.clock)
    arguments = {**CALIBRATE, "labeler": "rules"}
    with pytest.raises(Permanent, match="no condition has 3 reports"):
        run_operation(context, "labeler calibrate", arguments, lambda _: None)


def test_rules_qualify_on_a_file_or_it_is_said_why_not(config: Path, tmp_path: Path) -> None:
    names = [f"note {number}" for number in range(COUNT)]
    reports = tmp_path / "reports.csv"
    with reports.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "report"))
        writer.writerows(
            (name, PRESENT if is_present(n) else ABSENT) for n, name in enumerate(names)
        )
    runner = CliRunner()
    path = references(tmp_path / "read.csv", "file", names)
    common = ["--config", str(config), "--json"]
    assert runner.invoke(app, ["reference", "import", str(path), *common]).exit_code == 0
    done = runner.invoke(
        app,
        ["labeler", "qualify", "--reports", str(reports), "--accept-unsampled", *common],
        catch_exceptions=False,
    )
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert not found["qualified"]
    assert found["failings"][0] == {"why": "no thresholds are fitted for this configuration"}
    [stenosis] = [row for row in found["observations"] if row["observation"] == "stenosis"]
    assert stenosis["balanced_accuracy"] == 1.0
    assert {"why": "stenosis at its sites: readers gave no labels"} in found["failings"]
    assert found["figures"]["reports_per_hour"] > 0
    assert found["figures"]["peak_gib"] > 0
    with open_context(load_settings(config)) as context, context.database.read() as session:
        verdict = session.exec(select(Qualification)).one()
    assert not verdict.qualified
    assert len(verdict.failings) == len(found["failings"])


def test_stored_labels_judge_and_some_reports_are_read_again_to_time_it(
    context: Context, tmp_path: Path
) -> None:
    path = references(tmp_path / "read.csv", "report", [f"A{n}" for n in range(COUNT)])
    import_references(context, path)
    asked: dict[str, Any] = {
        "labeler": "rules", "criteria": {}, "folds": 5, "by": "me", "timed": 4,
        "accept_unsampled": True,
    }  # fmt: skip
    with pytest.raises(Permanent, match="has read no report"):
        run_operation(context, "labeler qualify", asked, lambda _: None)
    run_operation(context, "label", {"labeler": "rules"}, lambda _: None)
    found = run_operation(context, "labeler qualify", asked, lambda _: None)
    assert (found["figures"]["reports"], found["figures"]["timed_reports"]) == (COUNT, 4)
    again = run_operation(context, "labeler qualify", {**asked, "timed": 0}, lambda _: None)
    assert again["observations"] == found["observations"]
    run_operation(context, "labeler calibrate", {**CALIBRATE, "labeler": "rules"}, lambda _: None)
    with pytest.raises(Permanent, match="by other thresholds than hold now"):
        run_operation(context, "labeler qualify", asked, lambda _: None)
    run_operation(context, "label", {"labeler": "rules"}, lambda _: None)
    run_operation(context, "labeler qualify", asked, lambda _: None)
    receive(context, COUNT)
    import_one = references(tmp_path / "more.csv", "report", [f"A{COUNT}"])
    run_operation(context, "reference import", {"path": str(import_one)}, lambda _: None)
    with pytest.raises(Permanent, match=r"1 of 31 reports .* have no stored labels"):
        run_operation(context, "labeler qualify", asked, lambda _: None)


def test_labels_of_another_model_do_not_judge(context: Context, tmp_path: Path) -> None:
    path = references(tmp_path / "read.csv", "report", [f"A{n}" for n in range(COUNT)])
    import_references(context, path)
    identity = LabelerIdentity("rules", "1" * 64, "")
    with context.database.write() as session:
        run = open_run(session, identity, context.schema(), context.clock)
        for report in reports_without_labels(session, run):
            store_labels(
                session,
                run,
                report.id or 0,
                [LabelResult("stenosis", WHOLE, State.ABSENT)],
                context.clock,
            )
    asked = {"labeler": "rules", "criteria": {}, "folds": 5, "by": "me", "timed": 2}
    asked["accept_unsampled"] = True
    with pytest.raises(Permanent, match="of another model"):
        run_operation(context, "labeler qualify", asked, lambda _: None)


def test_thresholds_are_fitted_before_anything_is_stored(context: Context, tmp_path: Path) -> None:
    path = references(tmp_path / "read.csv", "report", [f"A{n}" for n in range(COUNT)])
    import_references(context, path)
    asked = {**CALIBRATE, "labeler": "rules", "now": True}
    fitted = run_operation(context, "labeler calibrate", asked, lambda _: None)
    assert fitted["reports"] == COUNT
    [row] = fitted["thresholds"]
    assert (row["observation"], row["held_out_balanced_accuracy"]) == ("stenosis", 1.0)
    with context.database.read() as session:
        assert session.exec(select(LabelingRun)).all() == []
    done = run_operation(context, "label", {"labeler": "rules"}, lambda _: None)
    assert (done["reports"], done["decided_again"], done["calibrated"]) == (COUNT, 0, True)
    found = evaluation(context, labeler="rules")
    assert "cross-validation" in found["judged_by"]
