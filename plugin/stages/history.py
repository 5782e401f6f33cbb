"""Stage: old reports come in from files, as a feed of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.feeds.acceptance import newest_of
from dicom_node.feeds.registry import ACCEPT, Profiles, digest_of
from dicom_node.feeds.writing import write_profile
from dicom_node.history.importing import Import, Outcome
from dicom_node.history.mapping import ImportMapping, mapping_of
from dicom_node.history.proposing import MappingProposal, propose
from dicom_node.history.reading import NO_TABLE_HERE, rows_of
from dicom_node.history.sources import Kind, Source, sources_at
from dicom_node.history.tables import UnreadableTable
from dicom_node.history.trial import Trial
from dicom_node.history.trial import try_import as read_as_trial
from dicom_node.messages import file_records
from dicom_node.models import Message
from dicom_node.sandbox import Sandbox
from plugin.context import Context, Progress, sandbox_of
from plugin.errors import Permanent
from plugin.folders import DataFolder
from plugin.linking import profiles_of
from plugin.settings import Settings
from plugin.stages.feeds import accept_feed

_TABLES = (Kind.TEXT_TABLE, Kind.WORKBOOK)
_LISTED = 50


def import_reports(
    context: Context, arguments: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Import the files at a path; goes on where an earlier run was cut off.

    The mapping is accepted as the profile of its sender, in the name of the person who imports.

    Args:
        context: the node.
        arguments: ``path``, ``mapping`` (its values), ``by`` and ``reason``.
        progress: told how far it is.

    Raises:
        Permanent: there is nothing to import, its sender was withdrawn, or a table has no mapping.
        OSError: a file cannot be read; what was committed stays.
    """
    mapping = mapping_of(arguments["mapping"], "the mapping")
    sources = _sources(Path(arguments["path"]), mapping)
    by, reason = arguments["by"], arguments["reason"]
    if any(each.kind in (*_TABLES, Kind.STRUCTURED_REPORT) for each in sources):
        _accept(context, mapping, progress, by=by, reason=reason)
    context.profiles.reload_if_changed()
    file = partial(
        file_records,
        context.database,
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
        document_text=context.sandbox.document_text,
        source="import",
    )
    job = Import(context.database, file, mapping, context.sandbox, context.clock, by)
    outcomes = job.run(sources, progress)
    with context.database.read() as session:
        strangers = _strangers(session, context.profiles)
    return _told(mapping, outcomes) | {"senders_that_may_not_link_yet": strangers}


def propose_mapping(path: Path, name: str) -> MappingProposal | None:
    """Propose the mapping of the first table at a path; None where there is none.

    Raises:
        Permanent: there is nothing at the path, or the table cannot be read.
    """
    tables = [each for each in sources_at(path) if each.kind in _TABLES]
    if not tables:
        return None
    blank = ImportMapping(name=name)
    try:
        return propose(name, rows_of(tables[0], blank))
    except UnreadableTable as error:
        raise Permanent(f"{tables[0].name}: {error}") from None


def try_import(
    path: Path, mapping: ImportMapping, settings: Settings, progress: Progress
) -> dict[str, Any]:
    """Tell what an import would do: fill rates, unmapped values, projected links, refusals.

    Raises:
        Permanent: there is nothing to import, or the mapping does not fit.
    """
    sources = _sources(path, mapping)
    profiles = profiles_of(settings, DataFolder(settings.data_folder))
    sandbox = sandbox_of(settings)
    with sandbox:
        trial = read_as_trial(sources, mapping, sandbox, profiles.of, progress)
        links = _projected(trial, settings, sandbox, progress)
    return trial.table() | {"projected_links": links}


def _sources(path: Path, mapping: ImportMapping) -> list[Source]:
    sources = sources_at(path)
    if all(each.kind in NO_TABLE_HERE for each in sources):
        raise Permanent("nothing here can be imported: no table, workbook, HL7 or DICOM file")
    if mapping.columns is None and any(each.kind in _TABLES for each in sources):
        raise Permanent(
            "a table needs a mapping of its columns: --dry-run without --mapping proposes one"
        )
    return sources


def _accept(
    context: Context, mapping: ImportMapping, progress: Progress, *, by: str, reason: str
) -> None:
    """Accept the profile that the mapping makes, unless it is in force already."""
    profile = mapping.profile()
    with context.database.read() as session:
        newest = newest_of(session, profile.sender)
    if newest is not None and newest.action != ACCEPT:
        raise Permanent(
            f"a person withdrew {profile.sender!r}: accept it again with radloop feed accept, or "
            "import under another name"
        )
    if newest is None or newest.profile_digest != digest_of(profile):
        accept_feed(context, write_profile(profile), progress, by=by, reason=reason)


def _strangers(session: Session, profiles: Profiles) -> list[str]:
    """Return senders of imported messages that no person has accepted."""
    senders = session.exec(
        select(Message.sender).where(col(Message.source) == "import").distinct()
    ).all()
    return [ascii(each)[1:-1] for each in sorted(senders) if not profiles.accepted(each)]


def _told(mapping: ImportMapping, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    total: Counter[str] = sum((each.counts for each in outcomes), Counter())
    refused = [{"file": each.name, **row} for each in outcomes for row in each.refused[:_LISTED]]
    return {
        "sender": mapping.sender,
        "files": [
            {
                "file": each.name,
                "kind": each.kind,
                "imported_before": each.finished_before,
                **{name: each.counts[name] for name in _COUNTS},
            }
            for each in outcomes
        ],
        **{name: total[name] for name in _COUNTS},
        "refused_rows": refused[:_LISTED],
    }


_COUNTS = ("accepted", "repeated", "ignored", "quarantined", "refused")


def _projected(
    trial: Trial, settings: Settings, sandbox: Sandbox, progress: Progress
) -> dict[str, Any]:
    from plugin.stages.projected import projected_links

    if not trial.contents:
        return {}
    progress(f"deciding about {len(trial.contents)} reports")
    profile = trial.mapping.profile()
    return projected_links(settings, profile, trial.contents, sandbox) or {"studies": 0}
