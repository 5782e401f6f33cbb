"""Labels for a file of reports, with no node: what comes in, what goes out, what is refused."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labeling.thresholds import Threshold, Thresholds, to_file
from plugin.cli import app
from tests.nodes import radloop

FILES = ("--reports", __file__, "--output", "out.jsonl")
REPORTS = {
    "a": "HISTORY: spondylolisthesis?\nFINDINGS: L4-L5: severe spinal canal stenosis.",
    "empty": "",
    "big": "y " * 600_000,
    "binary": "\x00\x01\x02" * 50,
    "emoji": "\U0001f600 No disc herniation. L5-S1 spondylolisthesis.",
    "crlf": "LSS MRI\r\nDisc extrusion at L4-L5.\r\n",
}


def write_reports(path: Path, reports: dict[str, str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "report"))
        writer.writerows(reports.items())
    return path


def label(reports: Path, output: Path, *more: str) -> list[dict]:
    arguments = ("label", "--reports", str(reports), "--output", str(output), *more)
    radloop(*arguments, "--schema", "spine", "--labeler", "rules")
    return [json.loads(line) for line in output.read_text("utf-8").splitlines()]


def test_each_report_gets_one_line_with_states_and_exact_spans(tmp_path: Path) -> None:
    lines = label(write_reports(tmp_path / "r.csv", REPORTS), tmp_path / "out.jsonl")
    assert [line["id"] for line in lines] == list(REPORTS)
    found = {line["id"]: line["labels"] for line in lines}
    assert set(found["a"]["stenosis"]) >= {"state", "probability", "margin", "levels", "evidence"}
    assert found["a"]["stenosis"]["state"] == "present"
    assert found["a"]["stenosis"]["levels"]["L4-L5"]["state"] == "present"
    assert found["a"]["spondylolisthesis"]["state"] == "not_mentioned"  # said by the history alone
    for name in ("empty", "big", "binary"):
        states = {label["state"] for label in found[name].values()}
        assert states == {"failed"}, name
        assert all(label["detail"] for label in found[name].values())
    (span,) = found["emoji"]["spondylolisthesis"]["evidence"]
    assert REPORTS["emoji"][span["start"] : span["end"]] == "L5-S1 spondylolisthesis."
    (span,) = found["crlf"]["herniation"]["evidence"]
    assert REPORTS["crlf"][span["start"] : span["end"]] == "Disc extrusion at L4-L5."


def test_why_reports_failed_is_counted_and_uncalibrated_labels_are_said(tmp_path: Path) -> None:
    reports, output = write_reports(tmp_path / "r.csv", REPORTS), tmp_path / "out.jsonl"
    given = ("label", "--reports", str(reports), "--output", str(output), "--schema", "spine")
    ran = radloop(*given, "--json")
    result = json.loads(ran.stdout)
    assert (result["reports"], result["failed"]) == (6, 3)
    assert {each["reason"]: each["reports"] for each in result["failures"]} == {
        "the report is empty": 1,
        "the report is longer than 50000 characters": 1,
        "the report is not text": 1,
    }
    assert "stenosis at its sites" in result["uncalibrated"]
    assert "warning: nobody calibrated this labeler" in ran.stderr
    assert not (tmp_path / "out.jsonl.log").exists()


def test_a_refused_run_leaves_nothing_behind(tmp_path: Path) -> None:
    reports, output = write_reports(tmp_path / "r.csv", REPORTS), tmp_path / "out.jsonl"
    said = refusal("--reports", str(reports), "--output", str(output), "--labeler", "stranger")
    assert "stranger" in said
    assert [each.name for each in tmp_path.iterdir()] == ["r.csv"]


def test_a_torn_line_is_labelled_again_and_nothing_stands_twice(tmp_path: Path) -> None:
    reports, output = write_reports(tmp_path / "r.csv", REPORTS), tmp_path / "out.jsonl"
    whole = label(reports, output)
    content = output.read_bytes()
    output.write_bytes(content[: len(content) // 2])
    assert label(reports, output) == whole
    assert output.read_bytes() == content


def test_ids_with_odd_characters_are_kept_and_found_again(tmp_path: Path) -> None:
    ids = ["a\u2028b", "c\x85d", "e\x0bf", "g\nh", "\ud800", "\u00e4\u00f6"]
    reports, output = tmp_path / "r.jsonl", tmp_path / "out.jsonl"
    lines = [json.dumps({"id": each, "report": REPORTS["a"]}) for each in ids]
    reports.write_text("\n".join(lines), "utf-8")
    assert [line["id"] for line in label(reports, output)] == ids
    content = output.read_bytes()
    output.write_bytes(content[:-9])
    assert [line["id"] for line in label(reports, output)] == ids
    assert output.read_bytes() == content


def test_thresholds_hold_only_for_what_they_were_fitted_for(tmp_path: Path) -> None:
    reports, output = write_reports(tmp_path / "r.csv", REPORTS), tmp_path / "out.jsonl"
    label(reports, output)
    ran = json.loads((tmp_path / "out.jsonl.run.json").read_text("utf-8"))
    names = ("labeler", "schema_digest", "model_digest", "question_digest")
    own = {name: ran[name] for name in names}
    # No margin of the rules is as high as this: nothing is present any more.
    fitted = Thresholds({"stenosis": Threshold(90.0, 90.0, fitted_on=10)})
    file = tmp_path / "thresholds.json"
    file.write_text(to_file(fitted, own), "utf-8")
    given = ("--reports", str(reports), "--output", str(tmp_path / "o.jsonl"))
    [first, *_] = label(reports, tmp_path / "o.jsonl", "--thresholds", str(file))
    assert first["labels"]["stenosis"]["state"] != "present"
    for name in names:
        file.write_text(to_file(fitted, own | {name: "another"}), "utf-8")
        assert f"(other {name})" in refusal(*given, "--thresholds", str(file))
    file.write_text(fitted.to_json(), "utf-8")
    assert "do not say for which labeler" in refusal(*given, "--thresholds", str(file))


def refusal(*arguments: str) -> str:
    runner = CliRunner()
    result = runner.invoke(app, ["label", *arguments])
    assert result.exit_code != 0
    return result.output + str(result.exception or "")


def test_an_output_of_another_run_is_left_alone(tmp_path: Path) -> None:
    reports, output = write_reports(tmp_path / "r.csv", REPORTS), tmp_path / "out.jsonl"
    label(reports, output)
    before = output.read_bytes()
    write_reports(reports, REPORTS | {"b": "More."})
    said = refusal("--reports", str(reports), "--output", str(output))
    assert "reports_sha256" in said
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("id,text\n1,x\n", "column 'report' is missing; there are: id, text"),
        ("id,report\n1,x\n1,y\n", "line 3: the id stands twice"),
        ("id,report\n,x\n", "line 2: the id is empty"),
        ('id,report\n1,"x\n', "is not CSV"),
        ("", "r.csv: is empty"),
        ("id,report\n", "r.csv: holds no report"),
    ],
)
def test_a_file_that_is_no_table_of_reports_is_refused(
    tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "r.csv"
    path.write_text(content, encoding="utf-8")
    assert reason in refusal("--reports", str(path), "--output", str(tmp_path / "o.jsonl"))
    assert not (tmp_path / "o.jsonl").exists()


def test_bytes_of_another_encoding_fail_their_report_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes("id,report\n1,L4-L5 sténosis.\n2,L4-L5 stenosis.\n".encode("latin-1"))
    first, second = label(path, tmp_path / "out.jsonl")
    assert first["labels"]["stenosis"]["state"] == "failed"
    assert "encoding" in first["labels"]["stenosis"]["detail"]
    assert second["labels"]["stenosis"]["state"] == "present"
    output = ("--reports", str(path), "--output", str(tmp_path / "out.jsonl"))
    # The failed report would stay as it is.
    assert "(other encoding)" in refusal(*output, "--encoding", "latin-1")
    beside = tmp_path / "out.jsonl.run.json"
    run = json.loads(beside.read_text("utf-8"))
    del run["encoding"]
    beside.write_text(json.dumps(run), "utf-8")  # as earlier versions wrote it
    assert len(label(path, tmp_path / "out.jsonl")) == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "--config names a node"),
        (("--reports", __file__), "--reports needs --output"),
        (("--model", "m"), "--model goes with --reports"),
        ((*FILES, "--model", "m"), "--model: the labeler rules asks no language model"),
        ((*FILES, "--two-step"), "--two-step goes with --labeler token_scores"),
        (
            (*FILES, "--labeler", "tree", "--model", "./no.gguf"),
            "--model: there is no file or folder ./no.gguf",
        ),
    ],
)
def test_options_that_do_not_go_together_are_named(arguments: tuple, reason: str) -> None:
    assert reason in " ".join(refusal(*arguments).replace("│", " ").split())
