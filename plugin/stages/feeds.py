"""Stage: feed profiles are learned, tried, accepted and withdrawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.feeds.acceptance import Acceptance, accept, decisions, outdated_senders, withdraw
from dicom_node.feeds.dry_run import Trial, try_profile
from dicom_node.feeds.learning import learn
from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.registry import Profiles, read_profile, with_defaults
from dicom_node.feeds.sample import Sample, read_sample, shown
from dicom_node.feeds.writing import DECIDE, write_profile, write_proposal
from dicom_node.models import Message
from dicom_node.rereading import Which, reread
from dicom_node.sandbox import Sandbox
from dicom_node.settings import Hl7Settings
from plugin.context import Context, Progress, sandbox_of
from plugin.errors import Permanent
from plugin.folders import DataFolder
from plugin.settings import Settings

_LISTED = 50


def learn_feed(folder: Path, sender: str = "") -> tuple[str, Sample]:
    """Return a proposed profile as TOML with reasons, and the sample it comes from.

    Args:
        folder: messages of one or more senders, in any form that the node reads.
        sender: whose profile; may be empty where the folder holds one sender.

    Raises:
        Permanent: the folder holds no message, not of this sender, or of several.
    """
    sample = _sample(folder)
    if not sample.senders:
        raise Permanent(f"{folder} holds no HL7 message that can be read")
    names = ", ".join(
        f"{shown(name)!r} ({len(found)})"
        for name, found in sorted(sample.senders.items(), key=lambda each: -len(each[1]))[:20]
    )
    if not sender and len(sample.senders) > 1:
        raise Permanent(f"{folder} holds messages of several senders; choose one: {names}")
    sender = sender or next(iter(sample.senders))
    if sender not in sample.senders:
        raise Permanent(f"{folder} holds no message of this sender; it has: {names}")
    if not sender.strip("|"):
        raise Permanent("these messages name no sender (MSH-3, MSH-4): they cannot have a profile")
    return write_proposal(learn(sender, sample.senders[sender])), sample


def load_profile(path: Path) -> FeedProfile:
    """Read a profile from a TOML file.

    Raises:
        Permanent: it cannot be read, or is no profile; the text says which key is wrong.
    """
    try:
        return parse_profile(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(f"{path} cannot be read: {error}") from None


def parse_profile(text: str) -> FeedProfile:
    """Read a profile from TOML.

    Raises:
        Permanent: it is no profile; the text says which key is wrong.
    """
    try:
        return read_profile(text)
    except ValueError as error:
        raise Permanent(f"this is no feed profile: {error}") from None


def try_feed(
    profile: FeedProfile, folder: Path, settings: Settings | None, progress: Progress
) -> dict[str, Any]:
    """Try a profile on a folder: fill rates, unmapped values, refusals, and projected links.

    Nothing is written. Links are projected where there is a node that holds studies.

    Args:
        profile: as proposed or changed by a person.
        folder: messages in any form that the node reads.
        settings: of the node whose defaults and studies count; None: no node.
        progress: told now and then how far it is.

    Raises:
        Permanent: the folder cannot be read.
    """
    hl7 = settings.hl7 if settings is not None else Hl7Settings()
    whole = with_defaults(profile, hl7)
    if settings is None:
        with Sandbox() as sandbox:
            return shown_trial(_try(whole, folder, sandbox, progress))
    with sandbox_of(settings) as sandbox:
        trial = _try(whole, folder, sandbox, progress)
        return shown_trial(trial) | {
            "projected_links": _project(trial, profile, settings, sandbox, progress)
        }


def shown_trial(trial: Trial) -> dict[str, Any]:
    """Return what a trial found, ready for JSON and for a table."""
    return {
        "sender": shown(trial.sender),
        "messages": trial.messages,
        "accepted": trial.dispositions["accepted"],
        "ignored": trial.dispositions["ignored"],
        "refused": trial.dispositions["quarantined"],
        "reports": trial.reports,
        "orders": trial.orders,
        "patient_events": trial.patient_events,
        "messages_of_other_senders": trial.other_senders.total(),
        "filled": [
            {
                "value": name,
                "reports": count,
                "of": trial.reports,
                "percent": round(100 * count / trial.reports, 1) if trial.reports else 0.0,
            }
            for name, count in trial.fills.items()
        ],
        "unmapped": [
            {"map": key, "value": shown(value), "messages": count}
            for key, values in trial.unmapped.items()
            for value, count in values.most_common(_LISTED)
        ],
        "not_taken": [
            {"reason": reason, "messages": count, "first": trial.examples[reason]}
            for reason, count in trial.reasons.most_common(_LISTED)
        ],
        "no_message": [
            {"file": name, "reason": reason}
            for name, reason in list(trial.unreadable.items())[:_LISTED]
        ],
        "files_without_a_message": len(trial.unreadable),
    }


def accept_feed(
    context: Context,
    text: str,
    progress: Progress,
    *,
    by: str,
    reason: str,
    undecided: bool = False,
) -> dict[str, Any]:
    """Accept a profile, and read what its sender sent already again under it.

    Raises:
        Permanent: it is no profile, the settings list the sender, or lines of it still wait for a
            decision and ``undecided`` does not say that they may.
    """
    profile = parse_profile(text)
    if (waiting := text.count(f"{DECIDE}:")) and not undecided:
        raise Permanent(
            f"{waiting} choices of the profile are not made: look for DECIDE, or add --undecided"
        )
    # No message may be filed between: it could be read under the old profile and kept as new.
    with context.still():
        done = accept(
            context.database,
            context.folder.feeds,
            context.clock,
            profile,
            by=by,
            reason=reason,
            listed=_listed(context),
        )
        return _follow(context, done, progress)


def withdraw_feed(
    context: Context, sender: str, progress: Progress, *, by: str, reason: str
) -> dict[str, Any]:
    """Withdraw the profile of a sender; what its reports were linked to is decided again.

    Raises:
        Permanent: the settings list the sender.
    """
    with context.still():
        done = withdraw(
            context.database,
            context.folder.feeds,
            context.clock,
            sender,
            by=by,
            reason=reason,
            listed=_listed(context),
        )
        return _follow(context, done, progress)


def list_feeds(session: Session, settings: Settings) -> dict[str, Any]:
    """Return every sender that has sent something or has a profile, and whether it may link."""
    profiles = _profiles(settings)
    rows = session.exec(
        select(Message.sender, Message.disposition, func.count()).group_by(
            col(Message.sender), col(Message.disposition)
        )
    )
    counts: dict[str, Counter[str]] = {sender: Counter() for sender in profiles.senders}
    for sender, disposition, count in rows:
        counts.setdefault(sender, Counter())[disposition] += count
    newest = {row.sender: row for row in decisions(session)}
    for sender in newest:
        counts.setdefault(sender, Counter())
    listed = {each.sender for each in settings.hl7.feeds}
    return {
        "feeds": [
            {
                "sender": shown(sender, 200),
                "may_link": profiles.accepted(sender),
                "profile": _origin(sender, listed, profiles),
                "messages": found.total(),
                "quarantined": found["quarantined"],
                "decided_by": newest[sender].decided_by if sender in newest else "",
            }
            for sender, found in sorted(counts.items())
        ],
        "unreadable_profiles": list(profiles.problems),
    }


def show_feed(session: Session, settings: Settings, sender: str) -> dict[str, Any]:
    """Return the profile in force for a sender, and every decision about it.

    Raises:
        Permanent: nothing is known of this sender.
    """
    profiles = _profiles(settings)
    rows = decisions(session, sender)
    messages = session.exec(
        select(func.count()).select_from(Message).where(Message.sender == sender)
    ).one()
    if not (rows or messages or sender in profiles.senders):
        raise Permanent("nothing was received from this sender, and it has no profile")
    return {
        "sender": shown(sender, 200),
        "may_link": profiles.accepted(sender),
        "profile": _origin(sender, {each.sender for each in settings.hl7.feeds}, profiles),
        "messages": messages,
        "digest": profiles.digest(sender),
        "in_force": write_profile(profiles.of(sender)),
        "decisions": [
            {
                "action": row.action,
                "decided_by": row.decided_by,
                "reason": row.reason,
                "decided_at": row.decided_at.isoformat(timespec="seconds"),
                "profile_digest": row.profile_digest,
            }
            for row in rows
        ],
    }


def read_outdated(context: Context, progress: Progress) -> dict[str, int]:
    """Read the stored messages again for whose sender something else holds than when they came.

    Returns:
        ``senders``, ``read_again``, ``read_differently`` and ``quarantined`` messages.
    """
    context.profiles.reload_if_changed()
    with context.database.read() as session:
        senders = outdated_senders(session, context.profiles)
    done = [
        reread(
            context.database,
            Which(sender=sender),
            profiles=context.profiles,
            linking=context.linking(),
            clock=context.clock,
            document_text=context.sandbox.document_text,
            progress=progress,
        )
        for sender in senders
    ]
    return {
        "senders": len(senders),
        "read_again": sum(each.messages for each in done),
        "read_differently": sum(each.changed for each in done),
        "quarantined": sum(each.quarantined for each in done),
    }


def _follow(context: Context, done: Acceptance, progress: Progress) -> dict[str, Any]:
    found = read_outdated(context, progress)
    return {**asdict(done), "may_link": context.profiles.accepted(done.sender), **found}


def _sample(folder: Path) -> Sample:
    try:
        return read_sample(folder)
    except OSError as error:
        raise Permanent(f"{folder} cannot be read: {error.strerror}") from None


def _try(profile: FeedProfile, folder: Path, sandbox: Sandbox, progress: Progress) -> Trial:
    try:
        return try_profile(profile, folder, sandbox.document_text, progress)
    except OSError as error:
        raise Permanent(f"{folder} cannot be read: {error.strerror}") from None


def _project(
    trial: Trial, profile: FeedProfile, settings: Settings, sandbox: Sandbox, progress: Progress
) -> dict[str, Any]:
    from plugin.stages.projected import projected_links

    progress(f"deciding about {len(trial.accepted)} messages")
    found = projected_links(settings, profile, trial.accepted, sandbox)
    if found is None:
        return {"studies": 0, "reports": trial.reports, "reports_without_a_study": 0}
    return found


def _profiles(settings: Settings) -> Profiles:
    from plugin.linking import profiles_of

    return profiles_of(settings, DataFolder(settings.data_folder))


def _listed(context: Context) -> list[str]:
    return [each.sender for each in context.settings.hl7.feeds]


def _origin(sender: str, listed: set[str], profiles: Profiles) -> str:
    if sender in listed:
        return "settings"
    return "accepted" if sender in profiles.senders else "none"
