"""What every stage needs at hand: settings, folders, database, clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from sqlmodel import Session

from dicom_node.database import Clock, Database, utc_now
from dicom_node.feeds.acceptance import follow_rows
from dicom_node.feeds.registry import Profiles
from dicom_node.linking.links import Linking
from dicom_node.sandbox import Sandbox
from dicom_node.settings import Hl7Settings
from labeling.schema_file import schema_of
from labeling.vocabulary import LabelSchema
from plugin.errors import Permanent
from plugin.folders import DataFolder
from plugin.import_desk import ImportDesk
from plugin.linking import linking_of, profiles_of
from plugin.migrations import MIGRATIONS, layout_of, migrate
from plugin.settings import Settings

Progress = Callable[[str], None]
"""Takes one line of progress; never holds anything about a patient."""


@dataclass(frozen=True)
class Context:
    """One open node: the arguments of every stage."""

    settings: Settings
    folder: DataFolder
    database: Database
    clock: Clock
    still: Callable[[], AbstractContextManager[object]] = nullcontext
    """While it is entered, nothing is indexed and no durable work runs; new objects may come."""

    stopping: Callable[[], bool] = lambda: False
    """Whether the node is ending: what asks archives then ends within seconds."""

    sandbox: Sandbox = field(default_factory=Sandbox)
    """Parses and decodes stored objects; its processes start with the first use."""

    profiles: Profiles = field(default_factory=lambda: Profiles(Hl7Settings()))
    """How each sender's messages are read; accepted ones are looked for again when they change."""

    imports: ImportDesk = field(default_factory=ImportDesk)
    """Imports of objects that run in this process."""

    def linking(self) -> Linking:
        """Return the linker that the settings name, as filing and indexing call it.

        Raises:
            plugin.errors.Permanent: the settings name a linker that is not installed.
        """
        return linking_of(self.settings, self.profiles)

    def schema(self) -> LabelSchema:
        """Read the label schema that the settings name."""
        return schema_of(self.settings.labeling)


def sandbox_of(settings: Settings) -> Sandbox:
    """Return a sandbox with the limits of the settings; its processes start with the first use."""
    return Sandbox(
        memory_bytes=settings.dicom.parser_memory_bytes,
        largest_object=settings.dicom.maximum_object_bytes,
        deadline_seconds=settings.dicom.parser_deadline_seconds,
    )


@contextmanager
def open_context(settings: Settings, clock: Clock = utc_now) -> Iterator[Context]:
    """Open the data folder for writing; the caller holds the folder's lock."""
    folder = DataFolder(settings.data_folder)
    folder.create()
    database = Database(folder.database_url)
    sandbox = sandbox_of(settings)
    try:
        migrate(database)
        with database.read() as session:
            follow_rows(session, folder.feeds)  # a crash may have come between row and file
        with sandbox:
            profiles = profiles_of(settings, folder)
            yield Context(settings, folder, database, clock, sandbox=sandbox, profiles=profiles)
    finally:
        database.close()


@contextmanager
def open_for_reading(settings: Settings) -> Iterator[Session | None]:
    """Open the last commit for reading, whether or not the node runs; None where nothing is.

    Raises:
        Permanent: the data were written by another version of radloop.
    """
    folder = DataFolder(settings.data_folder)
    if not folder.database.exists():
        yield None
        return
    database = Database(folder.database_url)
    try:
        if not (layout := layout_of(database)):
            yield None
            return
        if layout < len(MIGRATIONS):
            raise Permanent(
                "the data folder was written by an earlier radloop; start the node once "
                "(radloop serve), which brings it up to date"
            )
        if layout > len(MIGRATIONS):
            raise Permanent("the data folder was written by a newer radloop than this one")
        with database.read() as session:
            yield session
    finally:
        database.close()
