"""Any interleaving of arrivals, restarts, late images and force: each content completes once."""

import datetime as dt
import os
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session, SQLModel, select

from dicom_node.completion import Unchanged, force_completion
from dicom_node.database import Database
from dicom_node.errors import Permanent
from dicom_node.indexing import index_spool
from dicom_node.life_models import StudyCompletion
from dicom_node.storage import DicomStore
from dicom_node.studies import complete_studies, study_digest
from plugin.context import Context
from plugin.folders import DataFolder
from plugin.settings import Settings
from plugin.stages.complete import Completeness
from tests.builders import MEMORY_DISK, mr_image, received, uid

START = dt.datetime(2026, 1, 2, 12, 0, tzinfo=dt.UTC)
QUIET = 60
STUDIES = ("A", "B")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.sampled_from(STUDIES)),
        st.tuples(st.just("wait"), st.sampled_from((1, 30, 61, 4000))),
        st.tuples(st.just("clock"), st.sampled_from((-90, -100_000))),
        st.tuples(st.just("force"), st.sampled_from(STUDIES)),
        st.tuples(st.sampled_from(("index", "sweep", "restart")), st.none()),
    ),
    max_size=30,
)


class Node:
    """Spool, index and completeness of a node, with the clocks in the test's hand."""

    def __init__(self, root: Path) -> None:
        self.now, self.seconds, self.sent = START, 0.0, 0
        self.store = DicomStore(root)
        self.store.recover()
        self.settings = Settings(data_folder=root)
        self.database = Database(f"sqlite:///{root / 'index.sqlite'}")
        SQLModel.metadata.create_all(self.database.engine)
        self.context = Context(self.settings, DataFolder(root), self.database, lambda: self.now)
        self.contents: dict[str, list[str]] = {}
        self.restart(None)

    def arrive(self, study: str) -> None:
        before = set(self.store.spooled())
        self.sent += 1
        self.store.store(received(mr_image(patient=study, study=study, instance=self.sent)))
        for path in set(self.store.spooled()) - before:
            os.utime(path, (self.now.timestamp(), self.now.timestamp()))

    def wait(self, seconds: int) -> None:
        self.now += dt.timedelta(seconds=seconds)
        self.seconds += seconds

    def clock(self, seconds: int) -> None:
        self.now += dt.timedelta(seconds=seconds)

    def force(self, study: str) -> None:
        with self.database.write() as session:
            try:
                force_completion(session, uid("study", study), by="me", reason="why", now=self.now)
            except Permanent:
                return

    def index(self, _: None) -> None:
        result = index_spool(self.database, self.store, self.settings.dicom, lambda: self.now)
        self.completeness.touch(result.studies)
        with self.database.read() as session:
            for each in result.studies:
                self.contents.setdefault(each, []).append(study_digest(session, each))

    def sweep(self, _: None) -> None:
        self.completeness.sweep()

    def restart(self, _: None) -> None:
        self.completeness = Completeness(self.context, Unchanged(lambda: self.seconds))

    def completions(self, session: Session) -> list[StudyCompletion]:
        return list(session.exec(select(StudyCompletion).order_by(StudyCompletion.id)))  # type: ignore[arg-type]


@given(STEPS)
@settings(max_examples=12, deadline=None)
def test_each_content_completes_at_most_once_and_the_last_one_in_the_end(
    steps: list[tuple[str, object]],
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        node = Node(Path(folder))
        try:
            for name, argument in steps:
                getattr(node, name)(argument)
            node.index(None)
            for _ in range(3):
                node.wait(QUIET + 1)
                node.sweep(None)
            with node.database.read() as session:
                rows = node.completions(session)
                assert complete_studies(session) == sorted(node.contents)
            counted = Counter((row.study_instance_uid, row.study_digest) for row in rows)
            assert set(counted.values()) <= {1}
            for study, digests in node.contents.items():
                found = [row for row in rows if row.study_instance_uid == study]
                assert [row.number for row in found] == list(range(1, len(found) + 1))
                # Only contents that were there, in their order, and the last one among them.
                assert [d for d in digests if d in {row.study_digest for row in found}] == [
                    row.study_digest for row in found
                ]
                assert found[-1].study_digest == digests[-1]
        finally:
            node.database.close()
