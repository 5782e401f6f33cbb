"""Where a margin becomes a state: one threshold and one band per observation.

Margins of different observations do not share a zero: published thresholds for one model and one
prompt run from 1e-6 to 0.99998 as probabilities (Park et al., MICCAI 2024). So thresholds are
fitted on reference labels. Without them the threshold is 0, which says nothing about accuracy.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from labeling.errors import Permanent
from labeling.vocabulary import WHOLE, LabelSchema, State

DEFAULT_BAND = 0.25
"""Half the width of the uncertain band, in logits, where nothing was fitted."""


class InvalidThresholds(Permanent):
    """Stored thresholds cannot be read."""


@dataclass(frozen=True)
class Threshold:
    """How the margins of one observation are read.

    Margins above ``high`` mean present, below ``low`` no, between: uncertain. ``slope`` and
    ``intercept`` turn a margin into a probability (Platt 1999); slope 0: none was fitted.

    Args:
        low, high: the band in logits.
        mention_cut: mention margins from here on mean "mentioned".
        fitted_on, positives: reference labels that it rests on; 0: not fitted.
        cut_interval: 95 % bootstrap interval of the cut in the middle of the band.
    """

    low: float = -DEFAULT_BAND
    high: float = DEFAULT_BAND
    slope: float = 0.0
    intercept: float = 0.0
    mention_cut: float = 0.0
    fitted_on: int = 0
    positives: int = 0
    cut_interval: tuple[float, float] | None = None

    def decide(self, margin: float) -> State:
        """Return PRESENT, UNCERTAIN or ABSENT (not present) for a margin."""
        if margin > self.high:
            return State.PRESENT
        return State.UNCERTAIN if margin >= self.low else State.ABSENT

    def probability(self, margin: float) -> float | None:
        """Return the calibrated probability of present, or None where none was fitted."""
        if self.slope == 0.0:
            return None
        exponent = min(max(-(self.slope * margin + self.intercept), -700.0), 700.0)
        return 1.0 / (1.0 + math.exp(exponent))


@dataclass(frozen=True)
class Thresholds:
    """Thresholds by observation: of the whole report, and of its sites (all sites share one).

    An observation without one has the default, and its labels are uncalibrated.
    """

    whole: Mapping[str, Threshold]
    at_sites: Mapping[str, Threshold] = field(default_factory=dict)

    def of(self, observation: str, site: str = WHOLE) -> Threshold:
        """Return the threshold of an observation at a site."""
        known = self.whole if site == WHOLE else self.at_sites
        return known.get(observation, Threshold())

    def unfitted(self, schema: LabelSchema) -> tuple[str, ...]:
        """Return what of a schema has no fitted threshold: observations, and "... at its sites"."""
        whole = [each.id for each in schema.observations if not self.of(each.id).fitted_on]
        sites = [
            at_sites(each.id)
            for each in schema.observations
            if each.sites and not self.of(each.id, each.sites[0]).fitted_on
        ]
        return (*whole, *sites)

    @property
    def digest(self) -> str:
        """SHA-256 of the thresholds; empty where none was fitted."""
        fitted = self.whole or self.at_sites
        return hashlib.sha256(self.to_json().encode()).hexdigest() if fitted else ""

    def to_json(self) -> str:
        """Return the thresholds as JSON."""
        content = {
            "whole": {name: asdict(each) for name, each in sorted(self.whole.items())},
            "at_sites": {name: asdict(each) for name, each in sorted(self.at_sites.items())},
        }
        return json.dumps(content, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Thresholds:
        """Return thresholds from what ``to_json`` wrote.

        Raises:
            InvalidThresholds: the text is something else.
        """
        try:
            content = json.loads(text)
            return cls(_read(content["whole"]), _read(content["at_sites"]))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise InvalidThresholds("not thresholds as this version writes them") from error


def nowhere(schema: LabelSchema) -> Thresholds:
    """Return thresholds that no margin reaches: under them evidence is sought for no label."""
    never = Threshold(low=math.inf, high=math.inf)
    each = {observation.id: never for observation in schema.observations}
    return Thresholds(each, each)


def at_sites(observation: str) -> str:
    """Return the name of the condition that an observation is at its sites."""
    return f"{observation} at its sites"


def conditions(schema: LabelSchema) -> tuple[str, ...]:
    """Return what thresholds and verdicts are about: observations, and those at their sites."""
    sites = (at_sites(each.id) for each in schema.observations if each.sites)
    return (*(each.id for each in schema.observations), *sites)


def to_file(thresholds: Thresholds, fitted_for: Mapping[str, str]) -> str:
    """Return thresholds as JSON that says what they hold for, for ``fitted_for``."""
    return json.dumps({"fitted_for": dict(fitted_for), **json.loads(thresholds.to_json())})


def fitted_for(text: str) -> dict[str, str]:
    """Return for what the thresholds of a file were fitted: labeler and digests, by name.

    Raises:
        InvalidThresholds: the file does not say it.
    """
    try:
        found = {str(name): str(value) for name, value in json.loads(text)["fitted_for"].items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidThresholds(
            "the thresholds do not say for which labeler, model, questions and schema they are"
        ) from error
    return found


def _read(entries: Mapping[str, dict[str, Any]]) -> dict[str, Threshold]:
    return {
        str(name): Threshold(
            **{
                **each,
                "cut_interval": tuple(each["cut_interval"]) if each.get("cut_interval") else None,
            }
        )
        for name, each in entries.items()
    }


UNCALIBRATED = Thresholds({})
"""Cut 0 for everything: usable to see the machinery work, not to believe a label."""
