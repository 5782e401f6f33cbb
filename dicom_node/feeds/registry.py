"""Which profile holds for a sender: from the settings, from what a person accepted, or by default.

Accepted profiles lie as files beside the data, so that the listener process reads them without a
database. Each sender has one file, whose name is made from a digest of the sender; it is replaced
as a whole, and holds the newest decision about that sender.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dicom_node.feeds.profile import FeedProfile
from dicom_node.settings import Hl7Settings

ACCEPT = "accept"
WITHDRAW = "withdraw"

STRUCTURED_REPORTS = "SR"
"""MSH-3 of the messages that structured reports become; MSH-4 is the AE title of the sender."""

_NOWHERE = ("255.255.255.255/32",)
_SUFFIX = ".toml"
_V = TypeVar("_V")
_REMEMBERED = 1024  # senders; a peer may make up as many as it likes


def file_name(sender: str) -> str:
    """Return the name of the file that holds the decision about a sender.

    Args:
        sender: MSH-3 and MSH-4, joined with ``|``; a peer's text, never used as a name itself.
    """
    return hashlib.sha256(sender.encode("utf-8", errors="surrogatepass")).hexdigest() + _SUFFIX


@dataclass(frozen=True, slots=True)
class Decided:
    """The newest decision about one sender, as its file tells it."""

    action: str  # ACCEPT or WITHDRAW
    profile: FeedProfile


@dataclass(frozen=True, slots=True)
class _Known:
    """What stands at one moment: per sender, and what could not be read."""

    listed: Mapping[str, FeedProfile]
    decided: Mapping[str, Decided] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


Signature = frozenset[tuple[str, int, int, int]]


class Profiles:
    """The profile of every sender, with the general defaults of ``[hl7]`` filled in.

    What stands in the settings wins over what was accepted. A sender whose profile was withdrawn is
    not accepted, whatever the settings say about unknown senders.

    Args:
        settings: section ``[hl7]``.
        folder: where decisions lie as files, ``data/feeds``; None, or not there: nowhere.
        linking: what else decides about links, as text: where it changes, digests do.
    """

    def __init__(
        self, settings: Hl7Settings, folder: Path | None = None, linking: str = ""
    ) -> None:
        self._settings = settings
        self._linking = linking
        self._folder = folder
        self._signature: Signature = frozenset()
        self._known = _Known({each.sender: each for each in reversed(settings.feeds)})
        self._profiles: dict[str, FeedProfile] = {}
        self._digests: dict[str, str] = {}
        self.reload_if_changed()

    @property
    def problems(self) -> tuple[str, ...]:
        """File names that hold no decision that can be read; their senders are not accepted."""
        return self._known.problems

    @property
    def senders(self) -> tuple[str, ...]:
        """Every sender that has an accepted profile, sorted."""
        both = {*self._known.listed, *self._known.decided}
        return tuple(sorted(each for each in both if self._chosen(each) is not None))

    def of(self, sender: str) -> FeedProfile:
        """Return the profile under which a sender's messages are read; unknown ones get defaults.

        Args:
            sender: MSH-3 and MSH-4, joined with ``|``.
        """
        found = self._profiles.get(sender)
        if found is None:
            chosen = self._chosen(sender) or FeedProfile.model_construct(sender=sender)
            found = _laid_out(with_defaults(chosen, self._settings))
            _remember(self._profiles, sender, found)
        return found

    def accepted(self, sender: str) -> bool:
        """Tell whether what a sender says may link."""
        if sender in self._known.listed:
            return True
        decided = self._known.decided.get(sender)
        if decided is not None:
            return decided.action == ACCEPT
        return self._settings.accept_unknown_feeds and not self._is_unreadable(sender)

    def digest(self, sender: str) -> str:
        """Return the digest of all that holds for a sender here.

        It changes when its messages are read, or may link, differently: by its profile, by its
        acceptance, or by names of issuers that any accepted profile declares to be the same.
        """
        found = self._digests.get(sender)
        if found is None:
            groups = json.dumps(self.equivalent_issuers())
            holds = f"{digest_of(self.of(sender))} {self.accepted(sender)} {groups}{self._linking}"
            found = hashlib.sha256(holds.encode()).hexdigest()
            _remember(self._digests, sender, found)
        return found

    def equivalent_issuers(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of one and the same issuer that accepted profiles declare."""
        declared = (group for each in self.senders for group in self.of(each).equivalent_issuers)
        return tuple(sorted(set(declared)))

    def trusted_assumed_issuers(self) -> tuple[str, ...]:
        """Return the issuers that accepted profiles assume and declare as good as stated."""
        declared = (name for each in self.senders for name in self.of(each).trusted_assumed_issuers)
        return tuple(sorted(set(declared)))

    def reload_if_changed(self) -> bool:
        """Read the folder again if a file came, changed or went; tell whether that was so.

        One listing of a small folder: cheap enough for every batch of messages.

        Raises:
            OSError: the folder is there and cannot be listed.
        """
        signature = _signature(self._folder)
        if signature == self._signature:
            return False
        decided, problems = _read_files(self._folder, [name for name, *_ in signature])
        self._known = _Known(self._known.listed, decided, problems)
        self._profiles, self._digests = {}, {}
        self._signature = signature
        return True

    def _chosen(self, sender: str) -> FeedProfile | None:
        if sender in self._known.listed:
            return self._known.listed[sender]
        decided = self._known.decided.get(sender)
        return decided.profile if decided is not None and decided.action == ACCEPT else None

    def _is_unreadable(self, sender: str) -> bool:
        return bool(self._known.problems) and file_name(sender) in self._known.problems


def with_defaults(profile: FeedProfile, settings: Hl7Settings) -> FeedProfile:
    """Return the profile with the defaults of ``[hl7]`` where it is silent."""
    return profile.model_copy(
        update={
            "issuer_of_patient_id": profile.issuer_of_patient_id
            or settings.default_issuer_of_patient_id,
            "issuer_of_accession_number": profile.issuer_of_accession_number
            or settings.default_issuer_of_accession_number,
            "charset": profile.charset or settings.default_charset,
        }
    )


def _laid_out(profile: FeedProfile) -> FeedProfile:
    """Return the profile as it holds: of structured reports, this node writes the messages itself.

    So nobody else may send under their name.
    """
    if not profile.sender.startswith(f"{STRUCTURED_REPORTS}|"):
        return profile
    return profile.model_copy(
        update={
            "networks": _NOWHERE,
            "accession_number_fields": ("OBR-18",),
            "report_number_fields": ("OBR-3",),
            "charset": "utf_8",
        }
    )


def digest_of(profile: FeedProfile) -> str:
    """Return the SHA-256 of all that a profile says, in one form (hexadecimal)."""
    said = json.dumps(profile.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(said.encode()).hexdigest()


def read_profile(text: str) -> FeedProfile:
    """Read a profile from TOML.

    Raises:
        ValueError: it is no TOML, or no profile; the text says which key is wrong.
    """
    return FeedProfile.model_validate(tomllib.loads(text))


def read_decision(text: str) -> Decided:
    """Read the file of a decision.

    Raises:
        ValueError: it is no TOML, has no known action, or its profile is not valid.
    """
    content: dict[str, Any] = tomllib.loads(text)
    action = content.get("action")
    if action not in (ACCEPT, WITHDRAW):
        raise ValueError("the file names no action")
    return Decided(action, FeedProfile.model_validate(content.get("profile")))


def _remember(memory: dict[str, _V], sender: str, value: _V) -> None:
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[sender] = value


def _signature(folder: Path | None) -> Signature:
    if folder is None or not folder.is_dir():
        return frozenset()
    found = set()
    for path in folder.iterdir():
        if path.suffix != _SUFFIX or path.name.startswith("."):
            continue
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.add((path.name, status.st_ino, status.st_mtime_ns, status.st_size))
    return frozenset(found)


def _read_files(
    folder: Path | None, names: Iterable[str]
) -> tuple[dict[str, Decided], tuple[str, ...]]:
    decided: dict[str, Decided] = {}
    problems: list[str] = []
    if folder is None:
        return decided, ()
    for name in sorted(names):
        try:
            found = read_decision((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            problems.append(name)
            continue
        if file_name(found.profile.sender) == name:
            decided[found.profile.sender] = found
        else:
            problems.append(name)
    return decided, tuple(problems)
