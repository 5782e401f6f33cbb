"""What cannot be filed does not keep what came behind it waiting."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import col, select

from dicom_node.errors import Transient
from dicom_node.linking.decision import Decision
from dicom_node.linking.evidence import ReportEvidence, StudyEvidence
from dicom_node.linking.links import Linker
from dicom_node.linking.rules import decide
from dicom_node.messages import filed_position
from dicom_node.mllp.journal import Journal, Record
from dicom_node.models import Message, Quarantined, Report
from dicom_node.rereading import Which, reread
from dicom_node.settings import LinkingSettings
from plugin.context import Context, open_context
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.file_messages import file_waiting
from tests.hl7_builders import oru

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
POISON = "KEIN^NAME"


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    path = tmp_path / "radloop.toml"
    path.write_text(render(), encoding="utf-8")
    settings = load_settings(path)
    hl7 = settings.hl7.model_copy(update={"accept_unknown_feeds": True, "default_charset": "utf-8"})
    with open_context(settings.model_copy(update={"hl7": hl7})) as context:
        yield context


def _received(context: Context, count: int, poison: int) -> None:
    journal = Journal(context.folder.messages)
    for each in range(count):
        name = POISON if each == poison else "DOE^JANE"
        content = oru(control_id=f"M{each}", filler=f"F{each}", name=name)
        journal.append([Record("message", content, NOW)])
    journal.close()


def _fails_with(error: Exception) -> Linker:
    def linker(
        report: ReportEvidence, studies: Sequence[StudyEvidence], settings: LinkingSettings
    ) -> list[Decision]:
        if report.name == POISON:
            raise error
        return decide(report, studies, settings)

    return linker


@pytest.mark.parametrize(("count", "poison"), [(1, 0), (2, 1), (7, 0), (7, 3), (7, 6)])
def test_a_message_that_cannot_be_filed_is_quarantined_alone(
    context: Context, count: int, poison: int
) -> None:
    _received(context, count, poison)
    linking = replace(context.linking(), linker=_fails_with(ValueError(POISON)))
    assert file_waiting(context, linking) == count
    assert file_waiting(context, linking) == 0
    with context.database.read() as session:
        messages = session.exec(select(Message).order_by(col(Message.id))).all()
        assert [each.message_control_id for each in messages] == [f"M{n}" for n in range(count)]
        wrong = session.exec(select(Quarantined)).one()
        assert wrong.message_id == messages[poison].id
        assert "ValueError" in wrong.reason
        assert POISON not in wrong.reason
        assert len(session.exec(select(Report)).all()) == count - 1
    again = reread(
        context.database,
        Which(disposition="quarantined"),
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )
    assert (again.messages, again.accepted) == (1, 1)


def test_what_no_message_is_to_blame_for_lets_all_of_them_wait(context: Context) -> None:
    _received(context, 3, 1)
    linking = replace(context.linking(), linker=_fails_with(Transient("no room")))
    with pytest.raises(Transient):
        file_waiting(context, linking)
    with context.database.read() as session:
        assert filed_position(session) is None
        assert session.exec(select(Message)).all() == []
    assert file_waiting(context, context.linking()) == 3
