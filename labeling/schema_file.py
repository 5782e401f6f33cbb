"""Reads a label schema from YAML; whatever is wrong is named by line and key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import cast, get_args

from labeling.errors import Permanent
from labeling.located_yaml import Entry, is_identifier, read_yaml
from labeling.schema_terms import (
    read_code,
    read_id,
    read_locations,
    read_scale,
    read_scales,
    read_site,
    read_texts,
)
from labeling.settings import LabelingSettings
from labeling.vocabulary import LabelSchema, Observation, Severity, UncertainPolicy

_REQUIRED = {"name", "title", "modality", "body_parts", "procedure", "observations"}
_OPTIONAL = {"sites", "scales", "locations", "modalities"}


class InvalidSchema(Permanent):
    """A schema file cannot be used; the message says in which line and at which key."""


@dataclass(frozen=True)
class _Known:
    """What the observations of a file may refer to."""

    sites: tuple[str, ...]
    scales: Mapping[str, tuple[Severity, ...]]
    locations: tuple[str, ...]
    modalities: tuple[str, ...]


def load_schema(path: Path) -> LabelSchema:
    """Load a schema file.

    Raises:
        InvalidSchema: unreadable, not YAML, or not a schema; names the line and the key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidSchema(f"{path.name}: cannot be read ({error.strerror})") from error
    return parse_schema(content, path.name)


def shipped_names() -> tuple[str, ...]:
    """Return the names of the schemas that come with the package, in order."""
    files = (resources.files("labeling") / "schemas").iterdir()
    stems = (each.name.removesuffix(".yaml") for each in files if each.name.endswith(".yaml"))
    return tuple(sorted(stem for stem in stems if "." not in stem))


def shipped_schema(name: str) -> LabelSchema:
    """Return a schema that comes with the package, for example ``spine``.

    Raises:
        InvalidSchema: there is none of this name; the message tells those that there are.
    """
    if not is_identifier(name):
        raise InvalidSchema(f"not usable as a schema name: {name!r}")
    if name not in shipped_names():
        known = ", ".join(shipped_names())
        raise InvalidSchema(f"no schema named {name!r} comes with the package; there are {known}")
    file = resources.files("labeling") / "schemas" / f"{name}.yaml"
    return parse_schema(file.read_bytes(), f"{name}.yaml")


def schema_of(settings: LabelingSettings) -> LabelSchema:
    """Return the schema that the settings name, narrowed to the observations that they name.

    A site's own file wins over a shipped name.

    Raises:
        InvalidSchema: it cannot be used, or does not know an observation of the settings.
    """
    if settings.schema_file:
        schema = load_schema(Path(settings.schema_file))
    else:
        schema = shipped_schema(settings.schema_name)
    return narrowed(schema, settings.observations)


def narrowed(schema: LabelSchema, observations: Sequence[str]) -> LabelSchema:
    """Return the schema with only these observations, in the order of the schema.

    A parent outside the subset is replaced by its own parents: what a child implies stays implied.
    The digest is made from the schema's and the ids. No ids, or all of them: the schema itself.

    Raises:
        InvalidSchema: an id is not one of the schema's.
    """
    chosen = {each.id for each in schema.observations} & set(observations)
    if unknown := [each for each in observations if each not in chosen]:
        known = ", ".join(each.id for each in schema.observations)
        raise InvalidSchema(
            f"the schema {schema.name} has no observation {unknown[0]!r}; it has {known}"
        )
    if not chosen or len(chosen) == len(schema.observations):
        return schema
    kept = tuple(
        replace(each, parents=_parents_within(each, schema, chosen))
        for each in schema.observations
        if each.id in chosen
    )
    content = "\n".join([schema.digest, *(each.id for each in kept)])
    return replace(schema, observations=kept, digest=hashlib.sha256(content.encode()).hexdigest())


def _parents_within(
    observation: Observation, schema: LabelSchema, chosen: set[str]
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for parent in observation.parents:
        above = schema.observation(parent)
        inside = (parent,) if parent in chosen else _parents_within(above, schema, chosen)
        found.update(dict.fromkeys(inside))
    return tuple(found)


def parse_schema(content: bytes, source: str) -> LabelSchema:
    """Turn the bytes of a schema file into a schema; ``source`` names the file in errors.

    Raises:
        InvalidSchema: names the line and the key.
    """
    top = read_yaml(content, source, InvalidSchema).fields(_REQUIRED, _OPTIONAL)
    sites = top["sites"].unique(read_site, lambda each: each.id) if "sites" in top else ()
    locations = read_locations(top["locations"]) if "locations" in top else ()
    scales = read_scales(top["scales"]) if "scales" in top else {}
    known = _Known(
        sites=tuple(each.id for each in sites),
        scales=scales,
        locations=tuple(each.id for each in locations),
        modalities=read_texts(top, "modalities"),
    )
    observations = top["observations"].unique(
        lambda entry: _observation(entry, known), lambda each: each.id
    )
    if not observations:
        raise top["observations"].refuse("at least one observation is needed")
    _refuse_unused(top, known, observations)
    return LabelSchema(
        name=top["name"].identifier(),
        title=top["title"].text(),
        modality=top["modality"].text(),
        body_parts=top["body_parts"].texts(),
        procedure=read_code(top["procedure"]),
        sites=sites,
        observations=_with_parents(top["observations"], observations),
        digest=hashlib.sha256(content).hexdigest(),
        locations=locations,
    )


_OBSERVATION = {"id", "name", "definition", "synonyms", "code"}
_OBSERVATION_OPTIONAL = {
    "sites", "severities", "parents", "modalities", "body_parts", "uncertain_policy", "locations",
    "alone",
}  # fmt: skip


def _observation(entry: Entry, known: _Known) -> Observation:
    fields = entry.fields(_OBSERVATION, _OBSERVATION_OPTIONAL)
    policy = None
    if "uncertain_policy" in fields:
        policy = cast(UncertainPolicy, fields["uncertain_policy"].choice(get_args(UncertainPolicy)))
    return Observation(
        id=read_id(fields["id"]),
        name=fields["name"].text(),
        definition=fields["definition"].text(),
        synonyms=fields["synonyms"].texts(),
        code=read_code(fields["code"]),
        sites=fields["sites"].references(known.sites, "site") if "sites" in fields else known.sites,
        severities=_severities(fields["severities"], known) if "severities" in fields else (),
        parents=read_texts(fields, "parents"),
        modalities=read_texts(fields, "modalities") or known.modalities,
        body_parts=read_texts(fields, "body_parts"),
        uncertain_policy=policy,
        locations=_own_locations(fields["locations"], known) if "locations" in fields else (),
        alone=fields["alone"].flag() if "alone" in fields else False,
    )


def _severities(entry: Entry, known: _Known) -> tuple[Severity, ...]:
    """Return the scale that is named here, or written out here."""
    if not entry.is_text():
        return read_scale(entry)
    if entry.text() not in known.scales:
        raise entry.refuse(f"no such scale: {entry.text()!r}")
    return known.scales[entry.text()]


def _own_locations(entry: Entry, known: _Known) -> tuple[str, ...]:
    found = entry.references(known.locations, "location")
    if not found:
        raise entry.refuse("must not be empty; without the key, every location can be said")
    return found


def _with_parents(entry: Entry, observations: tuple[Observation, ...]) -> tuple[Observation, ...]:
    """Check that parents are known and that none is, at some remove, its own."""
    known = tuple(each.id for each in observations)
    by_id = {each.id: each for each in observations}
    for item, observation in zip(entry.items(), observations, strict=True):
        fields = item.fields(_OBSERVATION, _OBSERVATION_OPTIONAL)
        if "parents" not in fields:
            continue
        fields["parents"].references(known, "observation")
        if observation.id in _ancestors(observation.parents, by_id):
            raise fields["parents"].refuse(
                f"{observation.id!r} would be a parent of itself: the parents form a circle"
            )
    return observations


def _ancestors(parents: Iterable[str], by_id: Mapping[str, Observation]) -> set[str]:
    found: set[str] = set()
    waiting = list(parents)
    while waiting:
        each = waiting.pop()
        if each not in found and each in by_id:
            found.add(each)
            waiting.extend(by_id[each].parents)
    return found


def _refuse_unused(
    top: Mapping[str, Entry], known: _Known, observations: tuple[Observation, ...]
) -> None:
    """Refuse sites and scales that no observation names: most often a slip of the pen."""
    used_sites = {site for each in observations for site in each.sites}
    for item, site in zip(top["sites"].items() if "sites" in top else (), known.sites, strict=True):
        if site not in used_sites:
            raise item.refuse(f"no observation has the site {site!r}")
    used_scales = {each.severities for each in observations}
    for name, entry in top["scales"].named().items() if "scales" in top else ():
        if known.scales[name] not in used_scales:
            raise entry.refuse(f"no observation has the scale {name!r}")
