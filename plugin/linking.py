"""The linker that the settings name, as the index calls it."""

from __future__ import annotations

from dicom_node.indexing import OnStudy
from dicom_node.linking.links_old import Linker, link_study
from plugin.context import Context
from plugin.extensions import load


def study_linker(context: Context) -> OnStudy:
    """Return what decides again about the reports of a study that is new or has changed.

    Raises:
        plugin.errors.Permanent: the settings name a linker that is not installed.
    """
    linker: Linker = load("linkers", context.settings.linking.linker)
    return lambda session, study: link_study(
        session, study, context.settings.linking, context.clock, linker
    )
