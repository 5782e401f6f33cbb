"""The shipped rules on the simulated hospital's scanners: each weighting by its own rule."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmwrite

from dicom_node.inspection import DirectInspector
from plugin.simulation.dicom_objects import Equipment, StudyHeader, mr_instances
from plugin.simulation.identity import SITES, draw_patient, seeded_uids
from plugin.simulation.phantom import PhantomSeries
from plugin.simulation.phantom_scanner import SCANNERS, Scanner, Weighting
from training.images.choosing import choose
from training.images.reading import read_images, read_stack
from training.images.rule_file import load_rule

DECODER = DirectInspector()
UIDS = seeded_uids(1)
WEIGHTINGS: tuple[Weighting, ...] = ("T1", "T2")


def written(folder: Path, scanner: Scanner, number: int, weighting: Weighting) -> list[Path]:
    protocol = scanner.protocols[weighting]
    yaw = np.radians(scanner.yaw)
    row = (float(np.sin(yaw)), float(np.cos(yaw)), 0.0)
    normal = np.cross(row, (0.0, 0.0, -1.0))
    gap = scanner.spacing_between_slices
    series = PhantomSeries(
        pixels=np.arange(scanner.slices, dtype=np.uint16)[:, None, None] + np.zeros((12, 10), "u2"),
        positions=[tuple(gap * i * normal) for i in range(scanner.slices)],
        orientation=(*row, 0.0, 0.0, -1.0),
        pixel_spacing=scanner.pixel_spacing,
        slice_thickness=scanner.slice_thickness,
        spacing_between_slices=gap,
        description="one of two",  # no hint: the times alone tell
        echo_time=protocol.echo_time,
        repetition_time=protocol.repetition_time,
    )
    header = StudyHeader(
        study_instance_uid=UIDS("study"),
        accession_number="2600001",
        started_at=dt.datetime(2026, 3, 2, 8, 30),
        description="SIMULATED lumbar spine MR",
        patient=draw_patient(np.random.default_rng(3), "400001", "SIMNORTH"),
        site=SITES[0],
        equipment=Equipment("Simulated Vendor A", "Phantom", 1.5),
    )
    paths = []
    for each in mr_instances(header, series, number, UIDS, np.random.default_rng(4)):
        paths.append(folder / f"{number}-{len(paths)}")
        dcmwrite(paths[-1], each, enforce_file_format=True)
    return paths


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda each: each.manufacturer)
def test_each_weighting_is_found_on_each_scanner(tmp_path: Path, scanner: Scanner) -> None:
    study = {
        weighting: read_images(written(tmp_path, scanner, number, weighting), DECODER)
        for number, weighting in enumerate(WEIGHTINGS)
    }
    for name in WEIGHTINGS:
        rule = load_rule(f"lumbar_sagittal_{name.lower()}")
        found = choose(rule, study).taken
        assert found is not None
        assert found.series_instance_uid == name
        stack = read_stack(found.images, rule.reading, DECODER)
        assert stack.plane == "sagittal"
        assert stack.oblique == pytest.approx(abs(scanner.yaw), abs=0.01)
        expected = (scanner.spacing_between_slices, *scanner.pixel_spacing)
        assert stack.spacing == pytest.approx(expected, abs=1e-4)
        # The phantom's slices were numbered along a normal that leads to the right.
        assert stack.array[:, 0, 0].tolist() == list(range(scanner.slices))[::-1]
