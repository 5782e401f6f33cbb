"""Propose a feed profile from a sample of messages.

Each look is at one side of the feed: character set, identifiers, numbers, statuses, and so on. A
field is chosen by what its values do (an accession number belongs to one patient, a constant does
not), never by what they look like alone; words are mapped by known vocabulary, never by guessing.
What a sample cannot tell becomes a question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from dicom_node.feeds.learning_fields import look_at_fields
from dicom_node.feeds.learning_text import look_at_charset, look_at_patients, look_at_times
from dicom_node.feeds.learning_words import look_at_words
from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.proposal import Finding, Proposal
from dicom_node.feeds.sample import Sampled, told

FEWEST = 30
"""Messages below which a proposal says that it rests on little."""

Look = Callable[[Sequence[Sampled]], Finding]

LOOKS: tuple[Look, ...] = (
    look_at_charset,
    look_at_times,
    look_at_patients,
    look_at_fields,
    look_at_words,
)


def learn(sender: str, messages: Sequence[Sampled]) -> Proposal:
    """Propose a profile for a sender.

    Args:
        sender: MSH-3 and MSH-4, joined with ``|``.
        messages: of this sender, at least one.

    Raises:
        ValueError: there is no message.
    """
    if not messages:
        raise ValueError("a profile cannot be learned from no messages")
    whole = _overview(messages)
    for look in LOOKS:
        whole.add(look(messages))
    profile = FeedProfile(sender=sender, **whole.values)
    return Proposal(profile, len(messages), whole.reasons, whole.questions, tuple(whole.notes))


def _overview(messages: Sequence[Sampled]) -> Finding:
    found = Finding()
    kinds = Counter(
        f"{each.envelope.message_type or 'no type'} {each.envelope.text(12) or 'no version'}"
        for each in messages
    )
    found.notes.append(
        "messages: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(12))
    )
    days = sorted(day for each in messages if (day := each.first("MSH-7")[:8]).isdigit())
    if days:
        found.notes.append(f"sent between {days[0]} and {days[-1]} (MSH-7)")
    if len(messages) < FEWEST:
        found.notes.append(f"only {len(messages)} messages: try it on more before it is accepted")
    values = Counter(
        segment[2] if len(segment) > 2 else ""
        for each in messages
        for segment in each.segments
        if segment[0] == "OBX"
    )
    if values:
        found.notes.append(f"kinds of value (OBX-2): {told(values)}")
    enhanced = sum(1 for each in messages if each.first("MSH-15") or each.first("MSH-16"))
    if enhanced:
        found.notes.append(f"{enhanced} messages ask for enhanced acknowledgement (MSH-15, MSH-16)")
    return found
