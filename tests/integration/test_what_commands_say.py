"""What commands tell a person about a node that holds little or nothing yet."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select
from typer.testing import CliRunner

from dicom_node.messages import receive as file_messages
from labeling.disagreements import newest_runs, note_disagreements
from labeling.models import Label
from labeling.runs import LabelerIdentity, open_run, result_of_label, store_labels
from labeling.standing import put_in_force
from labeling.vocabulary import State
from plugin.cli import app
from plugin.context import Context, open_context
from plugin.operations import run_operation
from plugin.questions import ask
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.label import label_reports
from tests.hl7_builders import oru

TEXT = ("FINDINGS: L4-L5: severe spinal canal stenosis. No disc herniation.",)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "radloop.toml"
    text = render().replace('default_charset = "ascii"', 'default_charset = "utf-8"')
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def context(config: Path) -> Iterator[Context]:
    with open_context(load_settings(config)) as context:
        file_messages(
            context.database,
            oru(control_id="M1", filler="F1", accession="A1", lines=TEXT),
            profiles=context.profiles,
            linking=context.linking(),
            clock=context.clock,
        )
        yield context


def invoked(config: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "--config", str(config)])
    return result.exit_code, result.output


def test_the_model_store_of_a_fresh_node_is_listed(config: Path) -> None:
    status, said = invoked(config, "llm", "list")
    assert (status, said.splitlines()[0]) == (0, "models: none")


def test_disagreements_are_picked_by_labeler_place_and_state(context: Context) -> None:
    run = label_reports(context, "rules", lambda _: None)["run"]
    with context.database.write() as session:
        rows = session.exec(select(Label).where(Label.run_id == run)).all()
        told = [replace(result_of_label(row), state=State.ABSENT) for row in rows]
        for name in ("first", "second"):
            identity = LabelerIdentity(name, "m", "p")
            rival = open_run(session, identity, context.schema(), context.clock)
            put_in_force(session, rival, context.clock)
            others = [each for each in newest_runs(session, rival) if each.labeler == "rules"]
            store_labels(session, rival, 1, told, context.clock)
            assert note_disagreements(session, rival, others, 1, told, context.clock)

    def picked(**only: object) -> list[dict]:
        listed = ask(context.settings, "disagreements", {"limit": 500, **only})
        assert len(listed["reports"]) == sum(each["reports"] for each in listed["disagreements"])
        return listed["reports"]

    everything = picked()
    assert len(picked(labelers=["first"])) * 2 == len(everything)
    assert picked(labelers=["rules", "first"]) == picked(labelers=["first"])
    assert picked(labelers=["first", "second"]) == []
    for name in ("observation", "site", "state"):
        value = everything[0][name]
        also = "other_state" if name == "state" else name
        expected = [each for each in everything if value in (each[name], each[also])]
        assert picked(**{name: value}) == expected
        assert picked(**{name: "nothing"}) == []


def test_subjects_that_the_node_does_not_hold_are_counted(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    rows = ["report,A1", "report,A2", "report,A3", "image,1.2.3", "file,17"]
    said = [f"{row},stenosis,whole,R1,present" for row in rows]
    head = "level,subject,observation,site,reader,state"
    path.write_text("\n".join([head, *said, said[1], ""]), encoding="utf-8")
    done = run_operation(context, "reference import", {"path": str(path)}, lambda _: None)
    assert done["unknown_subjects"] == {"report": 2, "image": 1}


def test_a_cohort_without_a_study_says_why(context: Context, config: Path) -> None:
    label_reports(context, "rules", lambda _: None)
    accepted = ("--accept-uncalibrated", "--accept-unqualified")
    code, said = invoked(config, "cohort", "freeze", "c", *accepted)
    assert code == 1
    assert "the cohort has no members: the node holds no study yet" in said
