"""The stages of the research side on a small node: label, reference, cohort, and their errors."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.messages import receive as file_messages
from plugin.context import Context, open_context
from plugin.control import ControlServer
from plugin.errors import ChildFailed, Permanent
from plugin.folders import DataFolder
from plugin.operations import operate, run_operation
from plugin.questions import ask
from plugin.settings import Settings, load_settings
from plugin.settings_template import render
from plugin.stages.label import label_reports
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
    assert first["labels"] == 3 * 4 * 6  # observations x (whole and five levels)
    assert lines[-1] == "rules: 3 of 3 reports"
    receive(context, 3)
    assert label_reports(context, "rules", lines.append)["reports"] == 1


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
