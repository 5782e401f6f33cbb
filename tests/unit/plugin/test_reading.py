"""Reading a data folder that this version did not write."""

import re
from pathlib import Path

import pytest
from sqlmodel import col, delete

from plugin.context import open_context, open_for_reading
from plugin.errors import Permanent
from plugin.migrations import MIGRATIONS, SchemaVersion
from plugin.settings import Settings, load_settings
from plugin.settings_template import render


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "radloop.toml"
    path.write_text(render(), encoding="utf-8")
    return load_settings(path)


def written_by(settings: Settings, *, layout: int) -> None:
    with open_context(settings) as context, context.database.write() as session:
        session.exec(delete(SchemaVersion).where(col(SchemaVersion.number) > layout))
        for number in range(len(MIGRATIONS) + 1, layout + 1):
            session.add(SchemaVersion(number=number, applied_at=context.clock()))


@pytest.mark.parametrize(
    ("layout", "what_to_do"),
    [
        (len(MIGRATIONS) - 1, "start the node once"),
        (len(MIGRATIONS) + 1, "a newer radloop"),
    ],
)
def test_data_of_another_version_are_not_read(
    settings: Settings, layout: int, what_to_do: str
) -> None:
    written_by(settings, layout=layout)
    with (
        pytest.raises(Permanent, match=re.escape(what_to_do)),
        open_for_reading(settings),
    ):
        pass


def test_an_empty_folder_and_a_current_one_are_read(settings: Settings) -> None:
    with open_for_reading(settings) as session:
        assert session is None
    written_by(settings, layout=len(MIGRATIONS))
    with open_for_reading(settings) as session:
        assert session is not None
