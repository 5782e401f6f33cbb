"""Real chest X-ray reports (Indiana University, Open-i) with their MeSH strings and gold labels.

The reports are CC BY-NC-ND: they stay where they are, unmodified, and nothing learned from them is
kept with the product.
"""

from __future__ import annotations

import csv
import hashlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from defusedxml.ElementTree import fromstring

from labeling.vocabulary import LabelSchema
from tests.shared_data import shared_file

_FOLDER = "data/openi_xml"

# Heading of a MeSH string: the observation of the schema "chest" that it names.
OBSERVATIONS: Mapping[str, str] = {
    "Airspace Disease": "lung_opacity",
    "Cardiomegaly": "cardiomegaly",
    "Catheters, Indwelling": "support_devices",
    "Consolidation": "consolidation",
    "Emphysema": "emphysema",
    "Fractures, Bone": "fracture",
    "Hernia, Hiatal": "hernia",
    "Implanted Medical Device": "support_devices",
    "Infiltrate": "infiltration",
    "Mass": "mass",
    "Nodule": "nodule",
    "Opacity": "lung_opacity",
    "Pleural Effusion": "pleural_effusion",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Pulmonary Atelectasis": "atelectasis",
    "Pulmonary Edema": "edema",
    "Pulmonary Emphysema": "emphysema",
    "Pulmonary Fibrosis": "fibrosis",
    "Tube, Inserted": "support_devices",
}

# Qualifier of a MeSH string: locations of the schema; those of both sides stand for each side.
LOCATIONS: Mapping[str, tuple[str, ...]] = {
    "left": ("left",),
    "right": ("right",),
    "bilateral": ("left", "right"),
    "upper lobe": ("upper",),
    "middle lobe": ("middle",),
    "lower lobe": ("lower",),
    "lingula": ("left", "lingula"),
    "apex": ("apex",),
    "base": ("base",),
    "hilum": ("hilum",),
    "retrocardiac": ("retrocardiac",),
    "costophrenic angle": ("costophrenic_angle",),
    "diffuse": ("diffuse",),
    "focal": ("focal",),
    "anterior": ("anterior",),
    "posterior": ("posterior",),
    "mediastinum": ("mediastinum",),
    "ribs": ("rib",),
    "clavicle": ("clavicle",),
}
SEVERITIES = ("mild", "moderate", "severe")


@dataclass(frozen=True)
class ChestReport:
    """One report.

    Args:
        text: sections under their headings.
        gold: 0 or 1 by the fourteen findings of gold_labels_14.csv.
        mesh: the MeSH strings: heading and qualifiers in lower case.
    """

    name: str
    text: str
    gold: Mapping[str, bool]
    mesh: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def was_looked_at(self) -> bool:
        """Whether errors on this report were read while phrasings were written: one in five."""
        return hashlib.sha256(self.name.encode()).digest()[0] % 5 == 0

    def locations(self) -> dict[str, set[str]]:
        """Return by observation the places that its MeSH strings name."""
        found: dict[str, set[str]] = {}
        for heading, qualifiers in self.mesh:
            if heading in OBSERVATIONS:
                places = {place for each in qualifiers for place in LOCATIONS.get(each, ())}
                found.setdefault(OBSERVATIONS[heading], set()).update(places)
        return found

    def severities(self) -> dict[str, str]:
        """Return by observation the severity that its MeSH strings name; "" where several do."""
        found: dict[str, set[str]] = {}
        for heading, qualifiers in self.mesh:
            if heading in OBSERVATIONS:
                said = found.setdefault(OBSERVATIONS[heading], set())
                said |= {each for each in qualifiers if each in SEVERITIES}
        return {name: said.pop() for name, said in found.items() if len(said) == 1}


@dataclass(frozen=True)
class Finding:
    """How a finding of the gold labels is made of observations (chest.gold14.yaml)."""

    name: str
    observations: tuple[str, ...]
    implied: bool


def findings(schema: LabelSchema) -> list[Finding]:
    """Return the mapping from the schema to the gold findings.

    Raises:
        ValueError: the mapping names an observation that the schema lacks.
    """
    from importlib import resources

    file = resources.files("labeling") / "schemas" / "chest.gold14.yaml"
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    known = {each.id for each in schema.observations}
    found = [
        Finding(name, tuple(each["observations"]), each.get("implied", True))
        for name, each in content["findings"].items()
    ]
    if unknown := {name for each in found for name in each.observations} - known:
        raise ValueError(f"the mapping names no observations of the schema: {sorted(unknown)}")
    return found


def chest_reports() -> list[ChestReport]:
    """Return the reports that have gold labels and words, in the order of their numbers."""
    with shared_file(f"{_FOLDER}/gold_labels_14.csv").open(encoding="utf-8", newline="") as file:
        gold = {row.pop("filename"): row for row in csv.DictReader(file)}
    found = [
        ChestReport(
            name,
            text,
            {each: value == "1" for each, value in gold[name].items() if each != "normal"},
            mesh,
        )
        for name, text, mesh in _documents()
        if name in gold and text
    ]
    return sorted(found, key=lambda each: int(each.name.removeprefix("CXR")))


def _documents() -> Iterator[tuple[str, str, tuple[tuple[str, tuple[str, ...]], ...]]]:
    with tarfile.open(shared_file(f"{_FOLDER}/reports.tar.gz")) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is None:
                continue
            root = fromstring(stream.read())
            identifier = root.find("uId")
            yield (
                "" if identifier is None else identifier.get("id", ""),
                _text(root),
                tuple(_mesh(each.text or "") for each in root.iter("major")),
            )


def _text(root: Any) -> str:
    parts = [
        f"{part.get('Label', '')}: {' '.join((part.text or '').split())}"
        for part in root.iter("AbstractText")
        if (part.text or "").strip()
    ]
    return "\n".join(parts)


def _mesh(text: str) -> tuple[str, tuple[str, ...]]:
    heading, *qualifiers = re.split(r"\s*/\s*", text.strip())
    return heading, tuple(each.lower() for each in qualifiers)
