"""What messages would link to, tried before anything of them is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dicom_node.database import utc_now
from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.projection import project
from dicom_node.sandbox import Sandbox
from plugin.context import open_for_reading
from plugin.extensions import load
from plugin.settings import Settings

_LISTED = 50


def projected_links(
    settings: Settings, profile: FeedProfile, contents: Sequence[bytes], sandbox: Sandbox
) -> dict[str, Any] | None:
    """Return the links that messages would get with the studies of the node; None: it has none.

    Returns:
        Studies and reports that were compared, reports without a study, links by state, and the
        reasons of those that are not confirmed, the most frequent first.
    """
    with open_for_reading(settings) as session:
        if session is None:
            return None
        found = project(
            session,
            profile,
            contents,
            hl7=settings.hl7,
            settings=settings.linking,
            linker=load("linkers", settings.linking.linker),
            clock=utc_now,
            document_text=sandbox.document_text,
        )
    return {
        "studies": found.studies,
        "reports": found.reports,
        "reports_without_a_study": found.without,
        **dict(found.states.most_common()),
        **dict(found.reasons.most_common(_LISTED)),
    }
