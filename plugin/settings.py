"""The one place that reads settings: a TOML file, with secrets from the environment.

Unknown keys are refused by name, so that a misspelt setting cannot pass for a default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError

from dicom_node.archive_settings import PacsPeer, ReportingSettings
from dicom_node.dicomweb_settings import DicomwebSettings
from dicom_node.errors import InvalidSettings
from dicom_node.keeping_settings import CommitmentSettings, ErasureSettings, RetentionRule
from dicom_node.retrieval.settings import RetrievalSettings
from dicom_node.setting_values import Section
from dicom_node.settings import DicomSettings, Hl7Settings, LinkingSettings
from labeling.settings import LabelingSettings
from training.settings import GateSettings, MonitorSettings, PredictionRule, TrainingSettings

API_KEY_VARIABLE = "RADLOOP_LLM_API_KEY"
"""Holds the key of a language model server, where it wants one."""


class ConsoleSettings(Section):
    """The read-only status page; it has no login and therefore stays on loopback."""

    host: str = Field(default="127.0.0.1", pattern=r"^(127\.\d+\.\d+\.\d+|localhost|::1)$")
    port: int = Field(default=8080, ge=0, le=65535)


class Settings(Section):
    """Everything that a site can set; each section belongs to the package that uses it."""

    data_folder: Path = Path("data")
    dicom: DicomSettings = DicomSettings()
    dicomweb: DicomwebSettings | None = None  # without the section nothing listens
    hl7: Hl7Settings = Hl7Settings()
    linking: LinkingSettings = LinkingSettings()
    labeling: LabelingSettings = LabelingSettings()
    training: TrainingSettings = TrainingSettings()
    prediction: tuple[PredictionRule, ...] = ()
    gate: GateSettings = GateSettings()
    monitor: MonitorSettings = MonitorSettings()
    reporting: ReportingSettings = ReportingSettings()
    pacs: tuple[PacsPeer, ...] = ()
    retrieval: RetrievalSettings = RetrievalSettings()
    console: ConsoleSettings = ConsoleSettings()
    commitment: CommitmentSettings = CommitmentSettings()
    retention: tuple[RetentionRule, ...] = ()
    erasure: ErasureSettings = ErasureSettings()

    def peer(self, name: str) -> PacsPeer:
        """Return the archive of this name.

        Raises:
            InvalidSettings: no [[pacs]] section has the name.
        """
        for peer in self.pacs:
            if peer.name == name:
                return peer
        raise InvalidSettings(f"no [[pacs]] section is named {name!r}")


def load_settings(path: Path) -> Settings:
    """Read the settings file at ``path``; relative folders are relative to that file.

    Raises:
        InvalidSettings: the file is missing, is not TOML, or has an unknown key or a bad value;
            the message names the key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidSettings(
            f"there is no settings file {path}; `radloop init` makes one"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"{path} cannot be read as TOML: {error}") from None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise InvalidSettings(f"{path}: {explain(error)}") from None
    _check_references(path, settings)
    return _with_secrets(_anchored(settings, path.parent.absolute()))


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Return the settings with every path absolute."""
    update: dict[str, object] = {"data_folder": folder / settings.data_folder}
    sections = (("dicom", settings.dicom), ("dicomweb", settings.dicomweb), ("hl7", settings.hl7))
    for name, section in sections:
        if section is not None and section.tls is not None:
            files = {
                each: folder / getattr(section.tls, each)
                for each in ("certificate", "key", "authorities")
            }
            update[name] = section.model_copy(update={"tls": section.tls.model_copy(update=files)})
    labeling = settings.labeling
    update["labeling"] = labeling.model_copy(
        update={
            "schema_file": str(folder / labeling.schema_file) if labeling.schema_file else "",
            "language_packs": tuple(str(folder / each) for each in labeling.language_packs),
        }
    )
    return settings.model_copy(update=update)


def _with_secrets(settings: Settings) -> Settings:
    """Return the settings with what only the environment holds."""
    key = os.environ.get(API_KEY_VARIABLE, "")
    if not key:
        return settings
    model = settings.labeling.language_model.model_copy(update={"api_key": SecretStr(key)})
    labeling = settings.labeling.model_copy(update={"language_model": model})
    return settings.model_copy(update={"labeling": labeling})


def _check_references(path: Path, settings: Settings) -> None:
    labeling = settings.labeling
    if labeling.language_model.api_key.get_secret_value():
        raise InvalidSettings(
            f"{path}: a secret does not belong into a file; the key of the model server is taken "
            f"from the environment variable {API_KEY_VARIABLE}"
        )
    if labeling.automatic and labeling.automatic not in labeling.labelers:
        raise InvalidSettings(
            f"{path}: labeling.automatic is {labeling.automatic!r}, which labeling.labelers lacks"
        )
    ports = [p for p in _ports(settings) if p]
    if len(ports) != len(set(ports)):
        raise InvalidSettings(
            f"{path}: dicom.port, dicom.tls.port, dicomweb.port, dicomweb.tls.port, hl7.port, "
            "hl7.tls.port and console.port must differ"
        )
    if settings.dicom.tls is None and any(peer.tls for peer in settings.pacs):
        raise InvalidSettings(f"{path}: a [[pacs]] with tls = true needs [dicom.tls]")
    names = {peer.name for peer in settings.pacs}
    if settings.reporting.peer and settings.reporting.peer not in names:
        raise InvalidSettings(
            f"{path}: reporting.peer is {settings.reporting.peer!r}, but no [[pacs]] has that name"
        )
    _check_retrieval(path, settings)


def _check_retrieval(path: Path, settings: Settings) -> None:
    asked = {peer.name for peer in settings.pacs if peer.retrieve}
    for key in ("priors_from", "reconcile_with"):
        if (name := getattr(settings.retrieval, key)) and name not in asked:
            raise InvalidSettings(
                f"{path}: retrieval.{key} is {name!r}, but no [[pacs]] with retrieve has that name"
            )
    if any(rule.priors for rule in settings.prediction) and not settings.retrieval.priors_from:
        raise InvalidSettings(f"{path}: priors of a [[prediction]] need retrieval.priors_from")


def _ports(settings: Settings) -> list[int]:
    """Return the ports that are listened on."""
    ports = [settings.console.port]
    for section in (settings.dicom, settings.dicomweb, settings.hl7):
        if section is None:
            continue
        if section.plain:
            ports.append(section.port)
        if section.tls is not None:
            ports.append(section.tls.port)
    return ports


_IN_WORDS = {
    "tuple_type": "a list is needed",
    "list_type": "a list is needed",
    "string_type": "text is needed",
    "dict_type": "a table of names and values is needed",
    "model_type": "a table of names and values is needed",
    "model_attributes_type": "a table of names and values is needed",
    "path_type": "the path of a file is needed",
    "bool_parsing": "true or false is needed",
    "bool_type": "true or false is needed",
    "int_parsing": "a whole number is needed",
    "int_type": "a whole number is needed",
    "missing": "is missing",
    "string_too_short": "must not be empty",
}


def explain(error: ValidationError, known: Sequence[str] = ()) -> str:
    """Return what is wrong with values that were read, key by key.

    Args:
        error: of the values.
        known: keys, one of which may have been meant.
    """
    problems = []
    for each in error.errors():
        key = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            meant = get_close_matches(key, known, 1)
            problems.append(f"unknown key {key}" + (f" (is it {meant[0]}?)" if meant else ""))
        else:
            said = _IN_WORDS.get(each["type"], each["msg"]).removeprefix("Value error, ")
            problems.append(f"{key}: {said}" if key else said)
    return "; ".join(problems)
