"""A simulated lumbar spine as geometry: where bodies, discs and canal lie; never clinical.

Coordinates are the patient's (PS3.3 C.7.6.2.1.1) in mm: x to the left, y to the back, z to the
head. Typical sizes and angles of adult lumbar spines were chosen by hand; they carry no claim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plugin.simulation.truth import LEVELS, SpineTruth

Floats = NDArray[np.floating[Any]]  # float32, to draw fast

DISCS = ("T10-T11", "T11-T12", "T12-L1", *LEVELS, "S1-S2", "S2-S3")
# Per disc: height, depth (front to back), tilt of its plane (degrees, front end lower is positive).
_DISC_HEIGHT = (4.5, 5.0, 6.5, 8.0, 9.2, 10.2, 11.2, 10.2, 3.0, 1.6)
_DISC_DEPTH = (28.0, 29.5, 31.0, 32.5, 34.0, 35.0, 36.0, 35.0, 22.0, 16.0)
_DISC_TILT = (-9.0, -11.0, -11.0, -9.0, -5.0, 1.0, 12.0, 34.0, 50.0, 62.0)
# Heights of the bodies below each disc but the last: T11 ... S2.
_BODY_HEIGHT = (22.5, 24.0, 25.5, 26.5, 27.0, 27.0, 27.0, 26.5, 21.0)
_ANCHOR = DISCS.index("L2-L3")


@dataclass(frozen=True)
class Anatomy:
    """What stays the same in every series of one patient; lengths in mm, angles in degrees."""

    size: float
    disc_height: tuple[float, ...]  # of healthy discs, one for each of DISCS
    disc_depth: tuple[float, ...]
    disc_tilt: tuple[float, ...]
    body_height: tuple[float, ...]
    hydration: tuple[float, ...]  # 0 dark to 1 bright nucleus on T2, before any narrowing
    marrow: float  # factor on the signal of marrow
    canal_depth: float
    canal_waves: tuple[float, float, float]  # amplitude, wavelength, phase of its natural variation
    conus: float  # z of the end of the cord, relative to the anchor disc
    fat_depth: float  # of the subcutaneous fat
    muscle_depth: float
    lateral: tuple[float, float, float]  # offset, amplitude and phase of a mild sideways curve
    wedge: tuple[float, ...]  # share by which a disc is higher in front than its middle
    node: tuple[tuple[float, float], ...]  # dent in a disc's endplates: depth, place along it
    endplate: tuple[float, ...]  # thickness of each disc's endplates
    body_marrow: tuple[float, ...]  # factor on the signal of each body
    endplate_marrow: tuple[tuple[float, float], ...]  # change above and below each disc, a share
    epidural_fat: float  # behind the sac
    sac_offset: float  # how far the sac has left the back wall at L5-S1
    sac_waves: tuple[float, float, float]  # as canal_waves, of the distance from the back wall
    step: tuple[float, ...]  # mm by which a body stands before the next one, without any slip
    herniation_side: tuple[float, ...]  # x of a herniation at each of LEVELS, were there one
    isocentre: tuple[float, float, float]  # where the anchor disc lies in the scanner
    texture_seed: int


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient: sizes, curvature and signal that all of the patient's series share."""
    count = len(DISCS)
    size = _normal(rng, 1.0, 0.09, 0.79, 1.21)
    thickness = _normal(rng, 1.0, 0.155, 0.68, 1.35)  # discs of a patient vary together
    lordosis = _normal(rng, 1.0, 0.15, 0.65, 1.35)
    lean = _normal(rng, 0.0, 2.5, -6, 6)
    age = float(rng.uniform(0.0, 1.0))

    def vary(values: tuple[float, ...], spread: float) -> tuple[float, ...]:
        factors = 1 + rng.normal(0, spread, len(values)).clip(-2.2 * spread, 2.2 * spread)
        return tuple(float(v) for v in np.asarray(values) * factors)

    tilt = np.asarray(_DISC_TILT) * lordosis + lean + rng.normal(0, 1.5, count).clip(-3, 3)
    return Anatomy(
        size=size,
        disc_height=tuple(h * size * thickness for h in vary(_DISC_HEIGHT, 0.12)),
        disc_depth=tuple(d * size for d in vary(_DISC_DEPTH, 0.05)),
        disc_tilt=tuple(float(t) for t in tilt),
        body_height=tuple(h * size for h in vary(_BODY_HEIGHT, 0.035)),
        hydration=tuple(float(h) for h in (0.8 - 0.5 * age + rng.normal(0, 0.3, count)).clip(0, 1)),
        marrow=_normal(rng, 1.0, 0.12, 0.75, 1.3),
        canal_depth=size * _normal(rng, 15.8, 1.6, 12.5, 19.5),
        canal_waves=(
            float(rng.uniform(0.0, 2.2)),
            float(rng.uniform(50, 140)),
            float(rng.uniform(0, 2 * np.pi)),
        ),
        conus=float(rng.normal(45.0, 12.0)),
        fat_depth=float(rng.uniform(8.0, 38.0)),
        muscle_depth=float(rng.uniform(34.0, 46.0)),
        lateral=(
            float(rng.normal(0, 1.5)),
            _normal(rng, 0, 1.8, -4, 4),
            float(rng.uniform(0, 2 * np.pi)),
        ),
        wedge=tuple(float(w) for w in rng.normal(0, 0.17, count).clip(-0.32, 0.32)),
        node=tuple(_node(rng) for _ in range(count)),
        endplate=tuple(float(e) for e in rng.uniform(0.6, 2.0, count)),
        body_marrow=tuple(float(m) for m in rng.normal(1, 0.1, count - 1).clip(0.75, 1.25)),
        endplate_marrow=tuple((_endplate(rng), _endplate(rng)) for _ in range(count)),
        epidural_fat=float(rng.uniform(0.0, 3.5)),
        sac_offset=float(rng.uniform(0.0, 4.0)),
        sac_waves=(
            float(rng.uniform(0.0, 2.0)),
            float(rng.uniform(40, 110)),
            float(rng.uniform(0, 2 * np.pi)),
        ),
        step=tuple(float(s) for s in rng.normal(0, 1.3, count).clip(-2.6, 1.4)),
        herniation_side=tuple(float(x) for x in rng.uniform(-5.0, 5.0, len(LEVELS))),
        isocentre=(
            float(rng.normal(0, 4)),
            float(rng.normal(20, 6)),
            float(rng.normal(30, 8)),
        ),
        texture_seed=int(rng.integers(2**31)),
    )


def _normal(rng: np.random.Generator, mean: float, spread: float, low: float, high: float) -> float:
    return float(np.clip(rng.normal(mean, spread), low, high))


def _node(rng: np.random.Generator) -> tuple[float, float]:
    """Draw depth and place (mm) of a dent in the endplates; most discs have none."""
    depth = float(rng.uniform(0.8, 2.2)) if rng.random() < 0.25 else 0.0
    return depth, float(rng.uniform(-9.0, 9.0))


def _endplate(rng: np.random.Generator) -> float:
    """Draw the change of marrow beside an endplate: fatty, oedematous or sclerotic, or none."""
    return float(rng.uniform(-0.35, 0.8)) if rng.random() < 0.45 else 0.0


@dataclass(frozen=True)
class Disc:
    """A disc in the plane through the spine's middle: centre (y, z), tilt (radians), size in mm."""

    name: str
    centre: tuple[float, float]
    tilt: float
    height: float
    depth: float
    hydration: float
    wedge: float
    node: tuple[float, float]
    narrowing: float = 0.0
    herniation: float = 0.0
    herniation_side: float = 0.0
    stenosis: float = 0.0
    slip: float = 0.0

    @property
    def backward(self) -> tuple[float, float]:
        """Unit vector (y, z) from the front of the disc to its back."""
        return float(np.cos(self.tilt)), float(np.sin(self.tilt))

    @property
    def downward(self) -> tuple[float, float]:
        """Unit vector (y, z) across the disc, towards the feet."""
        return float(np.sin(self.tilt)), float(-np.cos(self.tilt))


@dataclass(frozen=True)
class Column:
    """A laid-out spine: discs from top to bottom, and the back wall that the canal follows."""

    discs: tuple[Disc, ...]
    wall: Floats  # (points, 2): y, z of the canal's front wall from top to bottom, 1 mm apart
    levels: tuple[float, ...]  # position along ``wall`` in mm at each disc


def lay_out(truth: SpineTruth, anatomy: Anatomy) -> Column:
    """Place every disc of a patient: findings change heights and shift vertebrae."""
    discs = [_disc(i, truth, anatomy) for i in range(len(DISCS))]
    placed: dict[int, Disc] = {_ANCHOR: _at(discs[_ANCHOR], np.zeros(2))}
    for i in range(_ANCHOR + 1, len(discs)):
        step = _step(discs[i - 1], discs[i], anatomy.body_height[i - 1])
        placed[i] = _at(discs[i], np.asarray(placed[i - 1].centre) + step)
    for i in range(_ANCHOR - 1, -1, -1):
        step = _step(discs[i], discs[i + 1], anatomy.body_height[i])
        placed[i] = _at(discs[i], np.asarray(placed[i + 1].centre) - step)
    ordered = tuple(placed[i] for i in range(len(discs)))
    wall = _wall(ordered)
    levels = tuple(_position(wall, _back(d)) for d in ordered)
    return Column(ordered, wall, levels)


def disc_centres(truth: SpineTruth, anatomy: Anatomy) -> dict[str, tuple[float, float, float]]:
    """Return the true centre of each lumbar disc in patient coordinates, to measure a localiser."""
    origin = anatomy.isocentre
    centres = {}
    for disc in lay_out(truth, anatomy).discs:
        if disc.name in LEVELS:
            y, z = disc.centre
            x = float(sideways(anatomy, np.asarray([z], dtype=np.float32))[0])
            centres[disc.name] = (origin[0] + x, origin[1] + y, origin[2] + z)
    return centres


def sideways(anatomy: Anatomy, z: Floats) -> Floats:
    """Return x of the spine's middle at heights ``z`` (mm, relative to the anchor disc)."""
    offset, amplitude, phase = anatomy.lateral
    return np.asarray(offset + amplitude * np.sin(z / 45.0 + phase), dtype=np.float32)


def _disc(i: int, truth: SpineTruth, anatomy: Anatomy) -> Disc:
    name = DISCS[i]
    disc = Disc(
        name=name,
        centre=(0.0, 0.0),
        tilt=float(np.radians(anatomy.disc_tilt[i])),
        height=anatomy.disc_height[i],
        depth=anatomy.disc_depth[i],
        hydration=anatomy.hydration[i],
        wedge=anatomy.wedge[i],
        node=anatomy.node[i],
        slip=anatomy.step[i],
    )
    if name not in LEVELS:
        return disc
    found = truth.levels[name]
    return replace(
        disc,
        height=disc.height * (1 - found.disc_narrowing),
        narrowing=found.disc_narrowing,
        herniation=found.herniation,
        herniation_side=anatomy.herniation_side[LEVELS.index(name)],
        stenosis=found.stenosis,
        slip=found.spondylolisthesis + disc.slip * (found.spondylolisthesis < 2),
    )


def _at(disc: Disc, centre: NDArray[np.float64]) -> Disc:
    return replace(disc, centre=(float(centre[0]), float(centre[1])))


def _step(upper: Disc, lower: Disc, body: float) -> NDArray[np.float64]:
    """Return the way from one disc's centre to the next; a slip moves the upper side forwards."""
    tilt = (upper.tilt + lower.tilt) / 2
    middle = np.asarray((np.sin(tilt), -np.cos(tilt)))
    down = (
        np.asarray(upper.downward) * upper.height / 2
        + middle * body
        + np.asarray(lower.downward) * lower.height / 2
    )
    slip = np.asarray(upper.backward) * upper.slip + np.asarray(lower.backward) * lower.slip
    return np.asarray(down + slip / 2)


def _back(disc: Disc) -> NDArray[np.float64]:
    return np.asarray(disc.centre) + np.asarray(disc.backward) * disc.depth / 2


def _wall(discs: tuple[Disc, ...]) -> Floats:
    """Return the canal's front wall: a smooth curve behind the discs, extended at both ends."""
    points = [_back(d) for d in discs]
    points.insert(0, points[0] - 3 * (points[1] - points[0]))
    points.append(points[-1] + 3 * (points[-1] - points[-2]))
    knots = np.asarray(points)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    steps = np.arange(0.0, along[-1], 1.0)
    curve = np.stack([np.interp(steps, along, knots[:, i]) for i in range(2)], axis=1)
    kernel = np.hanning(19) / np.hanning(19).sum()  # the canal bridges single steps smoothly
    padded = np.pad(curve, ((9, 9), (0, 0)), mode="reflect", reflect_type="odd")
    smooth = [np.convolve(padded[:, i], kernel, mode="valid") for i in range(2)]
    return np.stack(smooth, axis=1).astype(np.float32)


def _position(wall: Floats, point: NDArray[np.float64]) -> float:
    return float(np.argmin(np.linalg.norm(wall - point, axis=1)))
