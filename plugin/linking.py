"""The linker that the settings name, as filing and indexing call it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.feeds.registry import Profiles
from dicom_node.indexing import OnStudy
from dicom_node.linking.links import Linker, Linking, relink
from dicom_node.linking.touched import Touched
from plugin.extensions import load
from plugin.folders import DataFolder
from plugin.settings import Settings

if TYPE_CHECKING:
    from plugin.context import Context


def linking_of(settings: Settings, profiles: Profiles) -> Linking:
    """Return how links are decided under these settings and feed profiles.

    Raises:
        plugin.errors.Permanent: the settings name a linker that is not installed.
    """
    linker: Linker = load("linkers", settings.linking.linker)
    return Linking(settings.linking, profiles, linker)


def profiles_of(settings: Settings, folder: DataFolder) -> Profiles:
    """Return how each sender is read; where settings of links change, all is decided again."""
    return Profiles(settings.hl7, folder.feeds, settings.linking.model_dump_json())


def study_linker(context: Context) -> OnStudy:
    """Return what decides again about the reports of a study that is new or has changed.

    Raises:
        plugin.errors.Permanent: the settings name a linker that is not installed.
    """
    linking = context.linking()
    return lambda session, study: relink(
        session, Touched(studies={study.study_instance_uid}), linking, context.clock
    )
