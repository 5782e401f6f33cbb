"""Which series of a study a rule takes, and for every series why or why not.

Images are judged one by one; those that fit make up the series. The first condition that fails is
the reason, of the images that came furthest. Nothing depends on the order in which images came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.errors import Permanent
from training.images.body_parts import body_part
from training.images.conditions import CONDITIONS, first_fault, part_by_word
from training.images.contrast import contrast_of
from training.images.headers import ImageHeader
from training.images.planes import directions
from training.images.series_rule import ImageSeriesRule, Preference
from training.images.views import View, view_of


@dataclass(frozen=True)
class Verdict:
    """What became of one series.

    Attributes:
        series_instance_uid: the series.
        taken: whether a model looks at it.
        why: the reason, in words without a value of a description or of a patient.
        images: that fit the rule, in order; those of a series that fits but lost, too.
        remarks: what helped (hints) and what was left out.
    """

    series_instance_uid: str
    taken: bool
    why: str
    images: tuple[ImageHeader, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """What a rule takes of a study.

    Attributes:
        verdicts: one for each series; those that came furthest first, then by their UID.
    """

    verdicts: tuple[Verdict, ...]

    @property
    def taken(self) -> Verdict | None:
        """The series that is taken, or None."""
        return next((each for each in self.verdicts if each.taken), None)

    @property
    def why(self) -> str:
        """Why this one, or why none: the reason of the series that came furthest."""
        told = self.taken or next(iter(self.verdicts), None)
        return told.why if told else "the study has no series"


@dataclass(frozen=True)
class _Judged:
    """A series before one is preferred; ``reach`` is how many conditions its images passed."""

    uid: str
    images: tuple[ImageHeader, ...]
    reach: int
    why: str
    remarks: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not self.why


_LAST = len(CONDITIONS)


def choose(rule: ImageSeriesRule, series: Mapping[str, Sequence[ImageHeader] | str]) -> Chosen:
    """Judge every series of a study by its headers, and take the best that fits.

    Args:
        rule: what is wanted.
        series: Series Instance UID to its images, or to a reason why nobody looked at them.
    """
    judged = [_judge(rule, uid, images) for uid, images in sorted(series.items())]
    fitting = [each for each in judged if each.fits]
    best, by = _preferred(rule, fitting)
    verdicts = [_verdict(each, best, by) for each in judged]
    order = sorted(range(len(judged)), key=lambda i: (-judged[i].reach, judged[i].uid))
    return Chosen(tuple(verdicts[i] for i in order))


def _verdict(each: _Judged, best: _Judged | None, by: str) -> Verdict:
    if best is not None and each.uid == best.uid:
        why = f"fits; first by {by}" if by else "fits"
        return Verdict(each.uid, True, why, best.images, each.remarks)
    why = each.why or f"fits, but another series is first by {by}"
    return Verdict(each.uid, False, why, each.images if each.fits else (), each.remarks)


def _judge(rule: ImageSeriesRule, uid: str, images: Sequence[ImageHeader] | str) -> _Judged:
    if isinstance(images, str):
        return _Judged(uid, (), 0, images, ())
    if not images:
        return _Judged(uid, (), 0, "the series has no images", ())
    found = [(*first_fault(rule, image), image) for image in images]
    fitting = sorted((image for *_, reason, image in found if not reason), key=_order)
    if not fitting:
        reach = max(number for number, _, _ in found)
        reasons = Counter(reason for number, reason, _ in found if number == reach)
        reason = min(reasons, key=lambda each: (-reasons[each], each))
        return _Judged(uid, (), reach, reason, ())
    remarks = (*_hints(rule, fitting[0]), *_left_out(found))
    if rule.projection:
        fitting = _one_projection(rule, fitting)
    why = _whole_fault(rule, fitting)
    return _Judged(uid, tuple(fitting), _LAST + (not why), why, remarks)


def _order(image: ImageHeader) -> tuple[str, int]:
    return image.text("SOPInstanceUID"), image.frame or 0


def _left_out(found: Iterable[tuple[int, str, ImageHeader]]) -> list[str]:
    reasons = Counter(reason for _, reason, _ in found if reason)
    return [
        f"{count} image{'s' * (count > 1)} left out: {reason}"
        for reason, count in sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    ]


def _hints(rule: ImageSeriesRule, image: ImageHeader) -> list[str]:
    """Say which answers came from descriptions."""
    said = []
    part = body_part(image)
    if rule.body_parts and part not in rule.body_parts and part_by_word(rule, image):
        said.append("hint: the body part comes from a description")
    if rule.contrast and contrast_of(image, rule.hints).hint:
        said.append("hint: the contrast comes from a description")
    if rule.views and view_of(image, rule.hints).hint:
        said.append("hint: the view comes from a description")
    return said


def _one_projection(rule: ImageSeriesRule, images: list[ImageHeader]) -> list[ImageHeader]:
    """Keep as many radiographs as the rule wants, the best first."""
    keys = [_KEYS[name] for name in rule.prefer]
    images = sorted(images, key=lambda i: (*(key(rule, [i]) for key in keys), _order(i)))
    most = rule.slices.maximum
    return images if most is None else images[: int(most)]


def _whole_fault(rule: ImageSeriesRule, images: Sequence[ImageHeader]) -> str:
    """Return what is wrong with the images together."""
    repeats = 1 if rule.projection else _repeats(images)
    count = len(images) // repeats
    if fault := rule.slices.fault(count):
        return f"number of slices: {fault}"
    if rule.projection:
        return ""
    limits = rule.between_slices
    if limits.minimum is None and limits.maximum is None:
        return ""
    gap = _gap(images)
    if gap is None:
        return "the positions of the slices do not tell the spacing between them"
    fault = limits.fault(round(gap, 3))
    return f"spacing between slices in mm: {fault}" if fault else ""


def _places(images: Sequence[ImageHeader]) -> list[float]:
    """Return where slices lie along the first one's normal, mm, each place once."""
    try:
        orientation = images[0].numbers("ImageOrientationPatient", 6)
        positions = [image.numbers("ImagePositionPatient", 3) for image in images]
        normal = directions(np.asarray(orientation))[2] if orientation else None
    except Permanent:
        return []
    if normal is None:
        return []
    found = sorted(float(np.asarray(each) @ normal) for each in positions if each is not None)
    return [each for i, each in enumerate(found) if not i or each - found[i - 1] > 0.01]


def _repeats(images: Sequence[ImageHeader]) -> int:
    """Return how often each place is imaged, where it is the same number everywhere."""
    places = _places(images)
    if not places or len(images) % len(places):
        return 1
    return len(images) // len(places)


def _gap(images: Sequence[ImageHeader]) -> float | None:
    """Return the usual distance between neighbours; the thickness of a single slice."""
    places = _places(images)
    if len(places) < 2:
        return images[0].number("SpacingBetweenSlices", "SliceThickness")
    return float(np.median([b - a for a, b in pairwise(places)]))


def _finest(_rule: ImageSeriesRule, images: Sequence[ImageHeader]) -> float:
    try:
        spacing = images[0].pixel_spacing
    except Permanent:
        spacing = None
    return spacing[0] * spacing[1] if spacing else float("inf")


def _view_order(rule: ImageSeriesRule, images: Sequence[ImageHeader]) -> float:
    view = view_of(images[0], rule.hints).view or View.OTHER
    return rule.views.index(view) if view in rule.views else len(rule.views)


def _when(images: Sequence[ImageHeader]) -> float:
    """Return the latest acquisition as one number, yyyymmddhhmmss; 0 where none is stated."""
    stamps = [0.0]
    for image in images:
        date = image.text("AcquisitionDate", "SeriesDate")
        time = image.text("AcquisitionTime", "SeriesTime").split(".")[0]
        if date.isdigit() and len(date) == 8:
            stamps.append(float(date + (time if time.isdigit() else "").ljust(6, "0")[:6]))
    return max(stamps)


_KEYS: dict[Preference, Callable[[ImageSeriesRule, Sequence[ImageHeader]], float]] = {
    "most_slices": lambda rule, images: -(len(images) // _repeats(images)),
    "thinnest": lambda rule, images: _gap(images) or float("inf"),
    "finest": _finest,
    "view_order": _view_order,
    "newest": lambda rule, images: -_when(images),
    "oldest": lambda rule, images: _when(images),
}


def _preferred(rule: ImageSeriesRule, fitting: Sequence[_Judged]) -> tuple[_Judged | None, str]:
    """Return the series that wins and the preference that decided; "" where it had no rival."""
    left = sorted(fitting, key=lambda each: each.uid)
    if len(left) < 2:
        return (left[0] if left else None), ""
    for name in rule.prefer:
        values = [_KEYS[name](rule, each.images) for each in left]
        best = min(values)
        left = [each for each, value in zip(left, values, strict=True) if value == best]
        if len(left) == 1:
            return left[0], name
    return left[0], "Series Instance UID"
