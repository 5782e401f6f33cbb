"""From a drawn sample to a verdict: only its blinded, settled labels calibrate, gate and test."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from dicom_node.models import Report
from labeling.models import (
    Calibration,
    Qualification,
    ReferenceLabel,
    ReferenceSample,
    SampledSubject,
)
from labeling.vocabulary import WHOLE
from plugin.context import Context
from plugin.errors import Permanent
from plugin.operations import run_operation
from plugin.questions import ask
from tests.integration.test_labeler_quality import (
    CALIBRATE,
    COUNT,
    EVALUATE,
    config,
    context,
    import_references,
    is_present,
    receive,
    references,
    store_margins,
)

__all__ = ["config", "context"]

GATED = {**CALIBRATE, "accept_unsampled": False}
DRAFT: dict[str, Any] = {
    "level": "report", "file": "", "encoding": "utf-8-sig", "observations": ["stenosis"],
    "sites": False, "design": "random", "labeler": "", "enriched": 0.5, "seed": 7, "aim": {},
    "prevalence": 0.0, "n": 20, "one_per_patient": False, "include_read": False,
    "include_trained": False, "without_report": False, "readers": 2, "by": "me", "dry_run": False,
}  # fmt: skip


def run(context: Context, command: str, **arguments: Any) -> dict[str, Any]:
    return run_operation(context, command, arguments, lambda _: None)


def draw(context: Context, **changed: Any) -> dict[str, Any]:
    return run(context, "reference sample", **{**DRAFT, **changed})


def sheets(context: Context, sample: str, folder: Path, **changed: Any) -> list[Path]:
    asked = {"with_text": False, "reports": "", "encoding": "", **changed}
    found = ask(
        context.settings, "reference worksheets", {"sample": sample, "output": str(folder), **asked}
    )
    return [Path(each) for each in found["worksheets"]]


def fill(path: Path, wrong: set[str] = frozenset()) -> Path:
    """Fill a worksheet in as a reader who is right but for some subjects."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        present = is_present(int(row["subject"][1:])) is not (row["subject"] in wrong)
        row["state"] = "present" if present else "absent"
    filled = path.with_name(f"filled-{path.name}")
    with filled.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return filled


def read_by(context: Context, sample: str, path: Path, wrong: set[str] = frozenset()) -> None:
    done = run(context, "reference import", path=str(fill(path, wrong)), sample=sample)
    assert done["problems"] == []


def subjects(context: Context) -> dict[str, float]:
    with context.database.read() as session:
        return {each.subject: each.probability for each in session.exec(select(SampledSubject))}


def test_a_sample_is_read_adjudicated_and_then_calibrates_and_gates(
    context: Context, tmp_path: Path
) -> None:
    store_margins(context)
    found = draw(context)
    assert (found["n"], found["frame"], found["readers"]) == (20, COUNT, 2)
    drawn = subjects(context)
    assert set(drawn.values()) == {20 / COUNT}
    first, second = sheets(context, found["sample"], tmp_path / "sheets")
    assert first.stat().st_mode & 0o777 == 0o600
    assert "FINDINGS" not in first.read_text("utf-8-sig")
    read_by(context, found["sample"], first)
    with pytest.raises(Permanent, match=r"may calibrate: 20 are read by fewer readers"):
        run(context, "labeler calibrate", **GATED)
    disputed = min(drawn)
    read_by(context, found["sample"], second, {disputed})

    adjudicator = tmp_path / "settle.csv"
    question = {"sample": found["sample"], "output": str(adjudicator), "limit": 5}
    shown = ask(context.settings, "reference disagreements", question)
    assert (shown["agreed"], shown["disputed"], shown["waiting"]) == (19, 1, 0)
    [row] = shown["disagreements"]
    assert (row["subject"], row["states"]) == (disputed, "absent / present")
    fitted = run(context, "labeler calibrate", **GATED)
    assert (fitted["reports"], fitted["labels_left_out"]) == (19, 1)
    read_by(context, found["sample"], adjudicator)
    shown = ask(context.settings, "reference disagreements", {**question, "output": ""})
    assert (shown["agreed"], shown["adjudicated"], shown["disputed"]) == (19, 1, 0)
    assert ask(context.settings, "reference samples", {})["samples"][0]["adjudicated"] == 1

    fitted = run(context, "labeler calibrate", **GATED)
    assert fitted["reports"] == 20
    assert fitted["rests_on"].startswith("reference")
    with context.database.read() as session:
        stored = session.exec(select(Calibration)).all()[-1]
        sample = session.exec(select(ReferenceSample)).one()
    assert (stored.summary["accepted"], stored.summary["samples"]) == ([], [sample.digest])
    evaluated = ask(context.settings, "evaluation", EVALUATE)
    assert evaluated["called"].startswith("reference")
    assert evaluated["unweighted"] == []


def test_labels_of_no_sample_are_agreement_and_gate_only_where_accepted(
    context: Context, tmp_path: Path
) -> None:
    path = references(tmp_path / "read.csv", "report", [f"A{n}" for n in range(COUNT)])
    import_references(context, path)
    store_margins(context)
    for found in (
        ask(context.settings, "evaluation", EVALUATE),
        ask(context.settings, "agreement", {}),
        ask(context.settings, "comparison", {**EVALUATE, "other": "token_scores"}),
    ):
        assert found["called"].startswith("agreement with report labels")
    assert "report labels" in ask(context.settings, "agreement", {})["reason"]
    asked = {"labeler": "rules", "criteria": {}, "folds": 5, "by": "me", "timed": 0}
    for command, arguments in (("labeler calibrate", GATED), ("labeler qualify", asked)):
        with pytest.raises(Permanent, match=r"30 are of no stored sample.*reference sample"):
            run(context, command, **arguments)
    run(context, "labeler calibrate", **{**GATED, "accept_unsampled": True})
    verdict = run(context, "labeler qualify", **{**asked, "accept_unsampled": True})
    assert verdict["figures"]["accepted"] == ["unsampled"]
    with context.database.read() as session:
        assert session.exec(select(Calibration)).one().summary["accepted"] == ["unsampled"]
        assert session.exec(select(Qualification)).one().figures["accepted"] == ["unsampled"]


def test_a_cohort_says_that_thresholds_or_test_fold_rest_on_unsampled_labels(
    context: Context, tmp_path: Path
) -> None:
    path = references(tmp_path / "read.csv", "report", [f"A{n}" for n in range(COUNT)])
    import_references(context, path)
    rules = {**GATED, "labeler": "rules", "accept_unsampled": True}
    run(context, "label", labeler="rules")

    def freeze(*accepted: str) -> dict[str, Any]:
        given = ("uncalibrated", "unqualified", *accepted)
        return run(context, "cohort freeze", name="c", labeler="rules", accepted=given)

    assert freeze()["accepted"] == "uncalibrated, unqualified"
    image = tmp_path / "image.csv"
    head = "level,subject,observation,site,reader,state\n"
    image.write_text(f"{head}image,1.2.3,stenosis,whole,r1,present\n", "utf-8")
    run(context, "reference import", path=str(image))
    with pytest.raises(Permanent, match=r"1 labels that readers gave to images may test: 1 are of"):
        freeze()
    assert freeze("unsampled")["accepted"] == "uncalibrated, unqualified, unsampled"
    with context.database.write() as session:
        session.delete(session.exec(select(ReferenceLabel).filter_by(level="image")).one())
    run(context, "labeler calibrate", **rules)
    run(context, "label", labeler="rules")
    with pytest.raises(Permanent, match="not sampled, blinded and adjudicated: no cohort"):
        freeze()
    assert "unsampled" in freeze("unsampled")["accepted"]


def test_where_some_labels_deserve_it_they_alone_judge(context: Context, tmp_path: Path) -> None:
    store_margins(context)
    found = draw(context, readers=1)
    [sheet] = sheets(context, found["sample"], tmp_path)
    read_by(context, found["sample"], sheet)
    rest = [f"A{n}" for n in range(COUNT) if f"A{n}" not in subjects(context)]
    head = "level,subject,observation,site,reader,state\n"
    rows = [f"report,{each},stenosis,{WHOLE},other,present\n" for each in rest]
    (tmp_path / "rest.csv").write_text(head + "".join(rows), "utf-8")
    run(context, "reference import", path=str(tmp_path / "rest.csv"))
    evaluated = ask(context.settings, "evaluation", EVALUATE)
    assert evaluated["reports"] == 20
    assert "10 labels that are no such reference are left out" in evaluated["readers"]
    assert run(context, "labeler calibrate", **GATED)["reports"] == 20
    accepted = run(context, "labeler calibrate", **{**GATED, "accept_unsampled": True})
    assert accepted["reports"] == COUNT
    assert accepted["rests_on"].startswith("agreement")


def test_a_stratified_sample_is_weighted_and_its_numbers_are_stated(
    context: Context, tmp_path: Path
) -> None:
    run(context, "label", labeler="rules")
    asked = {"design": "stratified", "labeler": "rules", "n": 20, "enriched": 0.75, "readers": 1}
    found = draw(context, **asked, aim={"measure": "sensitivity", "width": 0.3})
    strata = {each["stratum"]: each for each in found["strata"]}
    assert {name: each["drawn"] for name, each in strata.items()} == {
        "stenosis": 15,
        "none of them": 5,
    }
    assert found["planning"]["prevalence_from"] == "labels of rules"
    assert found["planning"]["prevalence"] == 0.5
    assert found["planning"]["design_effect"] > 1
    drawn = subjects(context)
    assert {round(each, 3) for each in drawn.values()} == {1.0, 0.333}
    [sheet] = sheets(context, found["sample"], tmp_path)
    read_by(context, found["sample"], sheet)
    evaluated = ask(context.settings, "evaluation", {**EVALUATE, "labeler": "rules"})
    [weighted], [plain] = evaluated["figures"], evaluated["unweighted"]
    assert weighted["prevalence"] == pytest.approx(0.5)
    assert plain["prevalence"] == pytest.approx(0.75)
    assert weighted["design_effect"] > 1
    assert "one over the probability" in evaluated["weights"]
    rows = ask(context.settings, "agreement", {})
    assert {row["design_effect"] > 1 for row in rows["agreement"]} == {True}
    assert {row["design_effect"] for row in rows["unweighted"]} == {1.0}


def test_the_size_follows_from_the_interval_and_nothing_is_stored_by_a_dry_run(
    context: Context,
) -> None:
    aim = {"measure": "both", "expected": 0.9, "width": 0.3, "interval": "exact"}
    found = draw(context, n=0, prevalence=0.5, aim=aim, dry_run=True)
    planning = found["planning"]
    assert planning["n_of_an_endless_frame"] > planning["n_of_this_frame"] == found["n"]
    assert found["sample"] == ""
    with context.database.read() as session:
        assert session.exec(select(ReferenceSample)).all() == []
    with pytest.raises(Permanent, match="--prevalence"):
        draw(context, n=0)
    with pytest.raises(Permanent, match="--labeler"):
        draw(context, design="stratified")
    with pytest.raises(Permanent, match="has read nothing"):
        draw(context, design="stratified", labeler="rules")
    with pytest.raises(Permanent, match="not in schema"):
        draw(context, observations=["headache"])


def test_one_report_a_patient_and_nobody_twice(context: Context, tmp_path: Path) -> None:
    found = draw(context, one_per_patient=True, n=10)
    assert found["frame"] == COUNT // 2
    numbers = {int(each[1:]) // 2 for each in subjects(context)}
    assert len(numbers) == 10
    # One of two reports, ten of fifteen patients.
    assert {round(each, 9) for each in subjects(context).values()} == {round(0.5 * 10 / 15, 9)}
    second = draw(context, one_per_patient=True, n=10)
    assert second["n"] == 5
    assert second["left_out"] == {"read or drawn before": 20}
    with pytest.raises(Permanent, match="30 read or drawn before"):
        draw(context)
    assert draw(context, include_read=True)["n"] == 20
    with context.database.write() as session:
        report = session.exec(select(Report).filter_by(accession_number="A1")).one()
        report.result_status = "P"
        session.add(report)
    receive(context, COUNT)
    last = draw(context, include_read=True, n=100)
    assert last["left_out"] == {"not final": 1}
    assert last["n"] == COUNT


def test_a_file_of_reports_is_sampled_too(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("id,report\n" + "".join(f"n{n},L4-L5: stenosis.\n" for n in range(9)), "utf-8")
    found = draw(context, level="file", file=str(path), n=4)
    assert (found["n"], found["frame"]) == (4, 9)
    sheet = sheets(
        context, found["sample"], tmp_path, with_text=True, reports=str(path), encoding="utf-8"
    )[0]
    assert sheet.read_text("utf-8-sig").count("L4-L5: stenosis.") == 4
    with pytest.raises(Permanent, match="exists already"):
        sheets(context, found["sample"], tmp_path)
    json.dumps(found)
