"""Paint tissue on the slices of a simulated spine; simulated, never clinical.

Every tissue is a soft-edged region of the patient's space that is laid over what is behind it.
Signals are shares of the brightest tissue of the weighting, chosen by eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from plugin.simulation.phantom_anatomy import Anatomy, Column, Disc, Floats, sideways
from plugin.simulation.phantom_space import (
    CanalLookup,
    Texture,
    between,
    canal_window,
    half_height,
    in_plane,
    pixels_near,
)


@dataclass(frozen=True)
class Signals:
    """Signal of each tissue under one weighting."""

    marrow: float
    cortex: float
    nucleus_dry: float
    nucleus_wet: float
    annulus: float
    fluid: float
    cord: float
    fat: float
    muscle: float
    ligament: float
    vessel: float


SIGNALS = {
    "T1": Signals(0.55, 0.05, 0.30, 0.36, 0.22, 0.13, 0.36, 0.95, 0.32, 0.12, 0.08),
    "T2": Signals(0.46, 0.04, 0.14, 0.66, 0.09, 0.95, 0.42, 0.85, 0.20, 0.08, 0.05),
}

_EDGE = 1.1  # mm over which one tissue passes into the next (partial volume)
_STENOSIS_REACH = 7.0  # mm above and below the disc
_CANAL_HALF_WIDTH = 11.0
_BODY_HALF_WIDTH = 23.0


def _inside(distance: Floats) -> Floats:
    """Return coverage 0 to 1 from a signed distance in mm that is positive inside."""
    return np.asarray(np.clip(distance / np.float32(_EDGE) + np.float32(0.5), 0, 1))


class SlicePainter:
    """Paints slices of one spine under one weighting."""

    def __init__(self, column: Column, anatomy: Anatomy, signals: Signals) -> None:
        self._column = column
        self._anatomy = anatomy
        self._signals = signals
        self._texture = Texture(anatomy.texture_seed)
        self._canal = CanalLookup(column.wall)

    def paint(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Return the signal at patient coordinates in mm relative to the anchor disc.

        All three arrays broadcast to (rows, columns); so does the result, float32.
        """
        x, y, z = np.broadcast_arrays(x, y, z)
        grains = self._texture.slices(x, y, z)
        x = x - sideways(self._anatomy, z)
        along, behind = self._canal(y, z)
        signal = self._soft_tissue(x, z, behind, grains)
        near = canal_window(behind)
        around = signal[near]
        self._posterior(around, x[near], along[near], behind[near])
        self._canal_contents(around, x[near], z[near], along[near], behind[near])
        for body in range(len(self._column.discs) - 1):
            self._body(signal, (x, y, z), grains, body)
        for disc in self._column.discs:
            self._disc(signal, (x, y, z), grains, disc)
        self._side_structures(around, x[near], along[near], behind[near])
        return signal

    def _soft_tissue(
        self, x: Floats, z: Floats, behind: Floats, grains: dict[float, Floats]
    ) -> Floats:
        """Abdomen in front, muscle and subcutaneous fat behind, air outside."""
        s, a = self._signals, self._anatomy
        coarse, fine = grains[14.0], grains[5.0]
        bowel = _inside((coarse - 0.62) * 40)
        signal = s.muscle + (s.fat - s.muscle) * (0.25 + 0.5 * coarse) * (1 - 0.8 * bowel)
        prevertebral = _inside(-behind - 10) * _inside(behind + 62)
        _lay(signal, prevertebral * 0.8, s.fat * (0.45 + 0.3 * fine))
        vessel_side = _inside(9.0 - np.abs(x - 10.0))
        depth = np.abs(behind + 50 * a.size) - 8.0
        _lay(signal, vessel_side * _inside(-depth) * _inside(z + 75), s.vessel)
        streaks = np.clip((fine - 0.55) * 4, 0, 1)
        _lay(signal, _inside(behind - a.canal_depth), s.muscle + (s.fat - s.muscle) * streaks * 0.6)
        skin = a.muscle_depth + a.canal_depth + a.fat_depth
        skin_depth = skin - behind
        _lay(signal, _inside(a.fat_depth - skin_depth), s.fat * (0.92 + 0.16 * (fine - 0.5)))
        _lay(signal, _inside(2.0 - skin_depth), s.muscle)
        _lay(signal, _inside(-skin_depth), 0.01)
        return signal

    def _posterior(self, signal: Floats, x: Floats, along: Floats, behind: Floats) -> None:
        """Spinous processes in the middle, laminae and facets beside it."""
        s, canal = self._signals, self._anatomy.canal_depth
        middle = _inside(5.0 - np.abs(x))
        for upper, lower in pairwise(self._column.levels[:-2]):
            centre = upper + 0.72 * (lower - upper)
            droop = (behind - canal) * 0.35
            height = 8.5 - np.abs(along - centre - droop)
            length = 15.0 - np.abs(behind - canal - 19.0)
            rim = np.minimum(height, length)
            _lay(signal, _inside(rim + 1.2) * middle, s.cortex)
            _lay(signal, _inside(rim) * middle, s.marrow * 1.1 * self._anatomy.marrow)
            lamina = np.minimum(
                7.0 - np.abs(along - centre + 2), 4.0 - np.abs(behind - canal - 4.5)
            )
            _lay(signal, _inside(lamina), s.marrow * 0.8)
        _lay(signal, _inside(2.0 - np.abs(behind - canal - 1.5)) * 0.8, s.ligament)

    def _canal_contents(
        self, signal: Floats, x: Floats, z: Floats, along: Floats, behind: Floats
    ) -> None:
        """Fluid, cord above the conus and roots below it, epidural fat; stenoses narrow it."""
        s, a = self._signals, self._anatomy
        depth, start = self._fluid_bounds(along)
        across = np.clip(1 - (x / _CANAL_HALF_WIDTH) ** 2, 0, 1)
        middle = start + depth / 2
        half = depth / 2 * np.sqrt(across)
        inside = np.abs(x) < _CANAL_HALF_WIDTH + 1
        _lay(
            signal,
            _inside(a.canal_depth / 2 + 1.5 - np.abs(behind - a.canal_depth / 2)) * inside,
            s.ligament + 0.25 * (s.fat - s.ligament),
        )
        fat = behind - start - depth - 0.5
        _lay(signal, _inside(fat) * _inside(a.epidural_fat - fat) * (np.abs(x) < 7), s.fat * 0.9)
        fluid = _inside(half - np.abs(behind - middle))
        _lay(signal, fluid * inside, s.fluid)
        cord_half = (
            np.clip((z - a.conus) / 8.0, 0, 1) * 3.6 * np.sqrt(np.clip(1 - (x / 6) ** 2, 0, 1))
        )
        _lay(signal, _inside(cord_half - np.abs(behind - middle)) * (cord_half > 0.2), s.cord)
        below = np.clip((a.conus - z) / 10.0, 0, 1) * _inside(half - 1.0 - np.abs(behind - middle))
        roots = 0.5 + 0.5 * np.sin((behind - start) * 2.1 + np.sin(along / 23.0 + x) * 2)
        towards_back = np.clip((behind - start) / np.maximum(depth, 1), 0, 1)
        _lay(signal, below * roots * (0.15 + 0.35 * towards_back), s.cord)

    def _fluid_bounds(self, along: Floats) -> tuple[Floats, Floats]:
        """Return depth of the fluid and its distance from the front wall, mm, along the canal."""
        a = self._anatomy
        amplitude, wavelength, phase = a.canal_waves
        depth = a.canal_depth - 2.5 + amplitude * np.sin(along / wavelength * 2 * np.pi + phase)
        sacrum = self._column.levels[-3]
        depth = depth * np.clip(1 - (along - sacrum - 12) / 55.0, 0.02, 1)
        lowest = along - self._column.levels[-3]
        amplitude, wavelength, phase = a.sac_waves
        start = 1.4 + a.sac_offset / (1 + np.exp(-lowest / 9.0))
        start = start + amplitude * (1 + np.sin(along / wavelength * 2 * np.pi + phase))
        for disc, level in zip(self._column.discs, self._column.levels, strict=True):
            bump = np.exp(-(((along - level) / _STENOSIS_REACH) ** 2))
            loss = disc.stenosis * depth * bump
            depth = depth - loss
            start = start + 0.25 * loss
        return depth.astype(np.float32), start.astype(np.float32)

    def _body(
        self,
        signal: Floats,
        grid: tuple[Floats, Floats, Floats],
        grains: dict[float, Floats],
        body: int,
    ) -> None:
        """A vertebral body between two discs, with its cortex and the vein's notch."""
        s, a = self._signals, self._anatomy
        upper, lower = self._column.discs[body : body + 2]
        window = pixels_near(grid, between(upper, lower), 42.0)
        if window is None:
            return
        x, y, z = (g[window] for g in grid)
        u_top, v_top = in_plane(upper, y, z, lower_side=True)
        u_bottom, v_bottom = in_plane(lower, y, z, lower_side=False)
        from_top = v_top - half_height(upper, u_top)
        from_bottom = -v_bottom - half_height(lower, u_bottom)
        share = from_top / np.maximum(from_top + from_bottom, 1e-3)
        share = np.clip(share, 0, 1)
        u = u_top + (u_bottom - u_top) * share
        half = (upper.depth + (lower.depth - upper.depth) * share) / 2
        waist = 1.6 * np.sin(np.pi * share)
        sides = np.sqrt(np.clip(1 - (x / _BODY_HALF_WIDTH) ** 2 * 0.75, 0, 1))
        front = u + half - waist - 2 * half * (1 - sides)
        back = half - 0.6 * waist - u
        lateral = _BODY_HALF_WIDTH - 1.5 * np.sin(np.pi * share) - np.abs(x)
        under_top, over_bottom = (from_top - a.endplate[body], from_bottom - a.endplate[body + 1])
        distance = np.minimum.reduce([under_top, over_bottom, front, back, lateral])
        corner = np.minimum(np.minimum(from_top, from_bottom) + np.minimum(front, back), 99) - 3.0
        distance = np.minimum(distance, corner * 0.7)
        part = signal[window]
        _lay(part, _inside(distance + 1.3), s.cortex)
        grain = 1 + 0.4 * (grains[7.0][window] - 0.5) + 0.25 * (grains[30.0][window] - 0.5)
        grain = grain * a.marrow * a.body_marrow[body]
        grain = grain * (1 + a.endplate_marrow[body][1] * np.exp(-from_top.clip(0) / 4.5))
        grain = grain * (1 + a.endplate_marrow[body + 1][0] * np.exp(-from_bottom.clip(0) / 4.5))
        _lay(part, _inside(distance), s.marrow * grain)
        notch = 2.2 - np.hypot(back - 1.5, (share - 0.5) * 14)
        _lay(part, _inside(notch) * (np.abs(x) < 8) * _inside(distance) * 0.6, s.fluid * 0.8)

    def _disc(
        self,
        signal: Floats,
        grid: tuple[Floats, Floats, Floats],
        grains: dict[float, Floats],
        disc: Disc,
    ) -> None:
        """Annulus, nucleus and what of the disc reaches into the canal."""
        s = self._signals
        window = pixels_near(grid, disc.centre, 32.0)
        if window is None:
            return
        x, y, z = (g[window] for g in grid)
        u, v = in_plane(disc, y, z, lower_side=None)
        half = disc.depth / 2
        sides = np.sqrt(np.clip(1 - (x / _BODY_HALF_WIDTH) ** 2 * 0.75, 0, 1))
        front = u + half + 0.5 - 2 * half * (1 - sides)
        height = half_height(disc, u)
        edge = np.minimum(height - np.abs(v), np.minimum(front, half + 0.5 - u))
        distance = np.minimum(edge, _BODY_HALF_WIDTH - np.abs(x))
        part = signal[window]
        grain = 1 + 0.9 * (grains[4.0][window] - 0.5)
        _lay(part, _inside(distance), s.annulus * grain)
        hydration = np.clip(disc.hydration - 0.12 * disc.narrowing, 0, 1)
        wet = s.nucleus_dry + (s.nucleus_wet - s.nucleus_dry) * hydration
        inner = np.minimum(height - 1.6 - np.abs(v), half * 0.66 - np.abs(u - 0.05 * half))
        inner = np.minimum(inner, _BODY_HALF_WIDTH * 0.75 - np.abs(x))
        _lay(part, np.clip(inner / 2.0 + 0.4, 0, 1), wet * grain)
        self._herniate(part, (x, u - half, v), disc)

    def _herniate(self, part: Floats, local: tuple[Floats, Floats, Floats], disc: Disc) -> None:
        x, beyond, v = local
        if disc.herniation <= 0:
            return
        width = 9.0
        reach = disc.herniation * np.exp(-(((x - disc.herniation_side) / width) ** 2))
        tall = 2.2 + 0.45 * disc.herniation
        shape = 1 - np.sqrt((np.maximum(beyond, 0) / np.maximum(reach, 0.2)) ** 2 + (v / tall) ** 2)
        distance = shape * np.minimum(reach, tall)
        s = self._signals
        _lay(part, _inside(distance) * (beyond > -1.5), (s.annulus + s.nucleus_dry) / 2 + 0.03)

    def _side_structures(self, signal: Floats, x: Floats, along: Floats, behind: Floats) -> None:
        """Beside the canal: fat of the foramina with their roots, and pedicles between them."""
        s, canal = self._signals, self._anatomy.canal_depth
        if not x.size or float(np.abs(x).max()) < _CANAL_HALF_WIDTH - 2:
            return
        beside = _inside((np.abs(x) - _CANAL_HALF_WIDTH) / 2) * _inside(18.0 - np.abs(x))
        space = beside * _inside(canal / 2 - np.abs(behind - canal / 2))
        _lay(signal, space, s.fat * 0.8)
        for upper, lower in pairwise(self._column.levels[:-2]):
            length = lower - upper
            pedicle = length * 0.26 - np.abs(along - upper - length * 0.38)
            _lay(signal, space * _inside(pedicle), s.marrow * self._anatomy.marrow)
            root = 3.0 - np.hypot(along - upper - length * 0.78, behind - canal * 0.4)
            _lay(signal, space * _inside(root), s.muscle)
            facet = 9.0 - np.hypot((along - lower) * 0.6, behind - canal - 5)
            _lay(signal, beside * _inside(facet), s.marrow * 0.6)


def _lay(signal: Floats, coverage: Floats, value: Floats | float) -> None:
    """Lay a tissue over the signal, in place."""
    signal += coverage * (value - signal)
