"""What was imported is not read again, and nobody ever answers it."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.completion import force_completion
from dicom_node.imports.folders import FileCandidate
from dicom_node.indexing import index_spool
from dicom_node.storage import DicomStore
from plugin.context import Context, open_context
from plugin.linking import study_linker
from plugin.pipeline import held, waiting_predictions, waiting_transmissions
from plugin.settings import load_settings
from plugin.settings_template import render
from tests.builders import mr_image, received, uid
from tests.cohort_builders import add_training_run
from tests.import_room import bring_in, written
from training.registry import promote, register

NOW = dt.datetime(2026, 2, 1, 12, tzinfo=dt.UTC)
RULE = '\n[[prediction]]\nmodel = "spine"\nmodality = "MR"\n'


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    path = tmp_path / "node" / "radloop.toml"
    path.parent.mkdir()
    path.write_text(render() + RULE, encoding="utf-8")
    with open_context(load_settings(path)) as context:
        yield context


def go_live(context: Context) -> None:
    with context.database.write() as session:
        register(
            session,
            weights_digest="1" * 64,
            name="spine",
            training_run=add_training_run(session),
            operating_points={},
            uid_source=lambda: "2.25.1",
            decided_by="test",
            clock=lambda: NOW,
        )
        promote(session, "spine", decided_by="test", reason="a test", clock=lambda: NOW)


def route(context: Context, study: str) -> None:
    """Take an image as one that a sender sent."""
    store = DicomStore(context.folder.root)
    store.make_folders()
    store.store(received(mr_image(study=study), calling="MR1"))
    index_spool(
        context.database,
        store,
        context.settings.dicom,
        context.clock,
        study_linker(context),
        context.sandbox,
    )


def test_a_model_waits_for_what_was_routed_and_for_nothing_that_was_imported(
    context: Context, tmp_path: Path
) -> None:
    go_live(context)
    bring_in(context, written(tmp_path / "images", 5)[0].parent)
    route(context, "routed")
    imported = [uid("study", f"S{number}") for number in range(5)]
    with context.database.write() as session:
        for each in [*imported, uid("study", "routed")]:
            force_completion(session, each, by="test", reason="a test", now=NOW)
    with context.database.read() as session:
        waiting = waiting_predictions(context, session)
        assert [each.study_instance_uid for each in waiting] == [uid("study", "routed")]
        assert all("asked for it" in held(session, each) for each in imported)
        assert held(session, uid("study", "routed")) == ""
        assert waiting_transmissions(session) == []


def test_files_that_were_imported_are_not_read_again_as_a_whole(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "images", 3)[0].parent
    read: list[str] = []
    pieces = FileCandidate.pieces

    def counted(self: FileCandidate) -> Iterator[bytes]:
        read.append(self.name)
        return pieces(self)

    monkeypatch.setattr(FileCandidate, "pieces", counted)
    bring_in(context, folder)
    assert len(read) == 6
    read.clear()
    assert bring_in(context, folder)["held"] == 6
    assert read == []
    assert bring_in(context, folder, dry_run=True)["held"] == 6
    assert read == []
    # One that has changed is read, and only that one.
    (folder / "IM00010").write_bytes((folder / "IM00010").read_bytes())
    assert bring_in(context, folder)["held"] == 6
    assert read == ["IM00010"]
