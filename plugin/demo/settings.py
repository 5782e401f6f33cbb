"""The demonstration's node: its settings file, with ports that are free on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plugin.simulation.identity import SITES
from plugin.simulation.ports import free_ports

MODEL_NAME = "lumbar-discs"
QUIET_SECONDS = 3.0

_TEXT = """\
# Settings of the demonstration, on loopback. Research use only; every patient is simulated.
data_folder = "data"

[dicom]
ae_title = "RADLOOP"
port = {dicom}
accept_unknown_peers = true
study_quiet_seconds = {quiet}
minimum_free_bytes = 104857600

[hl7]
port = {hl7}
default_charset = "utf-8"
{feeds}
[labeling]
schema_name = "spine"
# What the simulated patients can have; their reports deny much else.
observations = ["disc_narrowing", "herniation", "stenosis", "spondylolisthesis"]
labelers = ["rules", "token_scores"]

[labeling.language_model]
dtype = "auto"

[[prediction]]
model = "{model}"
modality = "MR"
body_part = "LSPINE"
series_description = "T2"

[reporting]
peer = "demo-pacs"
institution = "Simulated hospital"

[[pacs]]
name = "demo-pacs"
ae_title = "{pacs_ae}"
port = {pacs}
first_retry_seconds = 1.0

[console]
port = {http}
"""


_FEED = """
[[hl7.feeds]]
name = "{name}"
sender = "{sender}"
"""


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the node."""

    dicom: int
    hl7: int
    http: int


def choose_ports() -> Ports:
    """Return three ports that nobody listens on now."""
    return Ports(*free_ports(3))


def write_settings(folder: Path, ports: Ports, pacs_ae_title: str, pacs_port: int) -> Path:
    """Write ``folder``/radloop.toml and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "radloop.toml"
    text = _TEXT.format(
        dicom=ports.dicom,
        hl7=ports.hl7,
        http=ports.http,
        pacs=pacs_port,
        pacs_ae=pacs_ae_title,
        quiet=QUIET_SECONDS,
        model=MODEL_NAME,
        feeds="".join(_FEED.format(name=site.name, sender=site.sender) for site in SITES),
    )
    path.write_text(text, encoding="utf-8")
    return path
