"""How this node tells patients apart: the secret of the keys, and the names of one issuer."""

from __future__ import annotations

from dicom_node.linking.identifiers import Issuers
from plugin.folders import DataFolder
from plugin.linking import profiles_of
from plugin.settings import Settings
from training.membership import Ground
from training.patients import one_name


def ground_of(settings: Settings) -> Ground:
    """Return how patients are told apart on this node."""
    folder = DataFolder(settings.data_folder)
    profiles = profiles_of(settings, folder)
    groups = (*settings.linking.equivalent_issuers, *profiles.equivalent_issuers())
    asked = frozenset(peer.name for peer in settings.pacs if peer.retrieve)
    return Ground(folder.patient_key_salt(), one_name(Issuers(groups)), asked)
