"""A domain beside the weights, in their file: the digest of the file covers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from training.domain.domain import Domain
from training.domain.likeness import GroupShape, Likeness
from training.domain.overview import FORM, GROUPS
from training.errors import Permanent

_PREFIX = "radloop.domain/"
_ARRAYS = ("mean", "scale", "axes", "variances")

State = Mapping[str, torch.Tensor]


def packed(domain: Domain | None) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what is written of a domain: ``{"domain": JSON values}``, or {}, and tensors."""
    if domain is None:
        return {}, {}
    about: dict[str, Any] = {
        "terms": {key: list(each) for key, each in domain.terms.items()},
        "ranges": {key: list(each) for key, each in domain.ranges.items()},
        "record": dict(domain.record),
        "stated": dict(domain.stated),
    }
    likeness = domain.likeness
    if likeness is None:
        return {"domain": about}, {}
    about["pixels"] = {
        "form": FORM,
        "rest": {name: likeness.shapes[name].rest for name in GROUPS},
        "centres": likeness.centres.tolist(),
        "spreads": likeness.spreads.tolist(),
        "threshold": likeness.threshold,
        "turned": likeness.turned,
    }
    arrays = {
        f"{_PREFIX}{name}/{each}": torch.from_numpy(
            np.ascontiguousarray(getattr(shape, each), dtype=np.float32)
        )
        for name, shape in likeness.shapes.items()
        for each in _ARRAYS
    }
    return {"domain": about}, arrays


def unpacked(about: Mapping[str, Any], state: State) -> tuple[Domain | None, State]:
    """Return the domain of a file, None where it has none, and the tensors of the network.

    Args:
        about: what the file says of itself.
        state: all its tensors.

    Raises:
        Permanent: overviews are made otherwise now than when the network learned.
        KeyError, TypeError, ValueError: the file is none that was written here.
    """
    own = {name: each for name, each in state.items() if not name.startswith(_PREFIX)}
    told = about.get("domain")
    if told is None:
        return None, own
    return (
        Domain(
            {str(key): tuple(map(str, each)) for key, each in told["terms"].items()},
            {str(k): (float(low), float(high)) for k, (low, high) in told["ranges"].items()},
            _likeness(told["pixels"], state) if "pixels" in told else None,
            told["record"],
            {str(key): float(each) for key, each in told.get("stated", {}).items()},
        ),
        own,
    )


def _likeness(told: Mapping[str, Any], state: State) -> Likeness:
    if told["form"] != FORM:
        raise Permanent("images are looked at otherwise now than when this network learned")
    shapes = {
        name: GroupShape(
            **{each: state[f"{_PREFIX}{name}/{each}"].double().numpy() for each in _ARRAYS},
            rest=float(told["rest"][name]),
        )
        for name in GROUPS
    }
    return Likeness(
        shapes,
        np.asarray(told["centres"], dtype=np.float64),
        np.asarray(told["spreads"], dtype=np.float64),
        float(told["threshold"]),
        float(told["turned"]),
    )
