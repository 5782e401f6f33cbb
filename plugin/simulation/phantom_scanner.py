"""Simulated MR scanners: what differs between the machines of one hospital; never clinical."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Weighting = Literal["T1", "T2"]


@dataclass(frozen=True)
class Protocol:
    """A sagittal spin echo protocol; times in ms (PS3.3 C.8.3.1)."""

    description: str
    echo_time: float
    repetition_time: float


@dataclass(frozen=True)
class Scanner:
    """A scanner and the sagittal lumbar protocol that it runs; lengths in mm, angles in degrees.

    ``pixel_spacing`` is (between rows, between columns) as in PS3.3 10.7.1.1. ``noise`` is the
    standard deviation of each quadrature channel as a share of the brightest tissue, ``bias`` the
    share of signal that the surface coil loses per 100 mm of depth.
    """

    manufacturer: str
    manufacturer_model_name: str
    magnetic_field_strength: float
    rows: int
    columns: int
    pixel_spacing: tuple[float, float]
    slices: int
    slice_thickness: float
    spacing_between_slices: float
    yaw: float
    tilt: float
    right_to_left: bool
    noise: float
    bias: float
    blur: float
    intensity_scale: float
    protocols: dict[Weighting, Protocol]


SCANNERS: tuple[Scanner, ...] = (
    Scanner(
        manufacturer="Simulated Vendor A",
        manufacturer_model_name="Phantom 1.5T",
        magnetic_field_strength=1.5,
        rows=256,
        columns=256,
        pixel_spacing=(1.09, 1.09),
        slices=11,
        slice_thickness=4.0,
        spacing_between_slices=4.4,
        yaw=0.0,
        tilt=0.0,
        right_to_left=True,
        noise=0.035,
        bias=0.25,
        blur=0.55,
        intensity_scale=900.0,
        protocols={
            "T1": Protocol("SAG T1 TSE", 11.0, 580.0),
            "T2": Protocol("SAG T2 TSE", 102.0, 3600.0),
        },
    ),
    Scanner(
        manufacturer="Simulated Vendor B",
        manufacturer_model_name="Phantom 3T",
        magnetic_field_strength=3.0,
        rows=256,
        columns=224,
        pixel_spacing=(1.05, 0.95),
        slices=11,
        slice_thickness=4.0,
        spacing_between_slices=4.4,
        yaw=4.0,
        tilt=0.0,
        right_to_left=False,
        noise=0.025,
        bias=0.45,
        blur=0.5,
        intensity_scale=1900.0,
        protocols={
            "T1": Protocol("t1_tse_sag", 9.5, 720.0),
            "T2": Protocol("t2_tse_sag", 95.0, 3900.0),
        },
    ),
    Scanner(
        manufacturer="Simulated Vendor C",
        manufacturer_model_name="Phantom Open",
        magnetic_field_strength=0.4,
        rows=224,
        columns=192,
        pixel_spacing=(1.25, 1.25),
        slices=9,
        slice_thickness=4.5,
        spacing_between_slices=5.0,
        yaw=-3.0,
        tilt=1.5,
        right_to_left=True,
        noise=0.06,
        bias=0.15,
        blur=0.8,
        intensity_scale=400.0,
        protocols={
            "T1": Protocol("Sag T1 SE", 18.0, 450.0),
            "T2": Protocol("Sag T2 FSE", 115.0, 3100.0),
        },
    ),
    Scanner(
        manufacturer="Simulated Vendor D",
        manufacturer_model_name="Phantom Wide",
        magnetic_field_strength=1.5,
        rows=240,
        columns=240,
        pixel_spacing=(1.15, 1.0),
        slices=10,
        slice_thickness=4.0,
        spacing_between_slices=4.8,
        yaw=6.0,
        tilt=-2.0,
        right_to_left=False,
        noise=0.045,
        bias=0.35,
        blur=0.65,
        intensity_scale=3200.0,
        protocols={
            "T1": Protocol("T1W SAG", 13.0, 610.0),
            "T2": Protocol("T2W SAG", 120.0, 3500.0),
        },
    ),
)
"""The scanners of the simulated hospital."""
