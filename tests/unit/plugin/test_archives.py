"""Which archive is asked for studies, where nobody names one."""

import pytest

from dicom_node.archive_settings import PacsPeer
from dicom_node.errors import InvalidSettings
from plugin.settings import Settings
from plugin.stages.archives import asked_peer


def peer(name: str, retrieve: str = "") -> PacsPeer:
    return PacsPeer.model_validate(
        {"name": name, "ae_title": name.upper(), "port": 104, "retrieve": retrieve}
    )


@pytest.mark.parametrize(
    ("peers", "name", "reason"),
    [
        ([], "", 'no .* has retrieve = "move" or "get"'),
        ([peer("one")], "", 'no .* has retrieve = "move" or "get"'),
        ([peer("one", "get"), peer("two", "move")], "", "2 .* say with --from"),
        ([peer("one")], "one", "one has no retrieve"),
    ],
)
def test_it_is_said_why_none_is_asked(peers: list[PacsPeer], name: str, reason: str) -> None:
    settings = Settings.model_validate({"pacs": [each.model_dump() for each in peers]})
    with pytest.raises(InvalidSettings, match=reason):
        asked_peer(settings, name)


def test_the_only_one_that_may_be_asked_is() -> None:
    peers = [peer("one"), peer("two", "move")]
    settings = Settings.model_validate({"pacs": [each.model_dump() for each in peers]})
    assert asked_peer(settings, "").name == "two"
    assert asked_peer(settings, "two").name == "two"
