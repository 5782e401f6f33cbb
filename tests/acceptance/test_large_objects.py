"""A multi-frame of 2 GiB by STOW-RS and by C-STORE: stored whole, and never held in memory."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.archive_settings import PacsPeer
from dicom_node.dicomweb.stow_client import store_file
from dicom_node.receiver import Receivers
from dicom_node.settings import DicomSettings
from dicom_node.storage_scu import send_instances
from tests.builders import mr_image
from tests.dicomweb_room import TOKEN, part10, running_room

GIBIBYTE = 1024**3
PIXEL_BYTES = 2 * GIBIBYTE
NEEDED_BYTES = 8 * GIBIBYTE
GROWTH_BYTES = 64 * 1024**2
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.3"  # Multi-frame Grayscale Word Secondary Capture
LIMIT = {"maximum_object_bytes": 3 * GIBIBYTE}


pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    if shutil.disk_usage(tmp_path).free < NEEDED_BYTES:
        pytest.skip("less than 8 GiB are free")
    yield tmp_path
    shutil.rmtree(tmp_path)


def large_file(folder: Path) -> Path:
    """Return a file whose pixel data are a hole: they take no room until somebody stores them."""
    image = mr_image(
        SOPClassUID=MULTI_FRAME, Modality="OT", NumberOfFrames=4096, Rows=512, Columns=512
    )
    image.PixelData = b"\0" * 8
    head = part10(image, ExplicitVRLittleEndian)
    path = folder / "large.dcm"
    with path.open("wb") as file:
        file.write(head[:-12] + PIXEL_BYTES.to_bytes(4, "little"))
        file.truncate(file.tell() + PIXEL_BYTES)
    return path


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has ever held, as the kernel counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)


def test_two_gibibytes_come_in_with_little_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_TOKEN", TOKEN)
    small = folder / "small.dcm"
    small.write_bytes(part10(mr_image()))
    large = large_file(folder)
    data_set_bytes = large.stat().st_size - 132

    with running_room(folder / "node", LIMIT) as room:
        web = PacsPeer(stow_url=f"http://127.0.0.1:{room.port}", token_variable="NODE_TOKEN")
        assert store_file(web, small).delivered
        before = peak_bytes(room.receiver.process_id)
        result = store_file(web, large)
        assert result.delivered, result.reason
        assert peak_bytes(room.receiver.process_id) - before <= GROWTH_BYTES
        kept = room.spooled()
        assert len(kept) == 2

    settings = DicomSettings.model_validate(
        LIMIT
        | {"port": 0, "minimum_free_bytes": 0, "accept_unknown_peers": True}
        | {"receiver_processes": 1}
    )
    receivers = Receivers(settings, folder / "node")
    receivers.start()
    try:
        receivers.wait_until_ready()
        (pid,) = receivers.process_ids
        peer = PacsPeer(ae_title="RADLOOP", port=receivers.port)
        assert next(send_instances(peer, "SCANNER", [small])).delivered
        before = peak_bytes(pid)
        assert next(send_instances(peer, "SCANNER", [large])).delivered
        assert peak_bytes(pid) - before <= GROWTH_BYTES
    finally:
        receivers.stop()
    # By both ways the same bytes: one object.
    assert room.spooled() == kept
    assert not room.temporary()
    assert abs(max(path.stat().st_size for path in kept) - data_set_bytes) < 4096
