"""Batches: many messages in one frame or file."""

import pytest

from dicom_node.hl7.batches import MAXIMUM_MESSAGES, batch_messages, is_batch
from dicom_node.hl7.text import ContentFault
from tests.hl7_messages import PID, message, obr, obx

ONE = message("ORU^R01", PID, obr(), obx("one"))
TWO = message("ORU^R01", PID, obr(), obx("zwölf"), charset="8859/1", encoding="latin-1")


@pytest.mark.parametrize(
    "content",
    [
        b"FHS|^~\\&|\rBHS|^~\\&|\r" + ONE + TWO + b"BTS|2\rFTS|1\r",
        b"BHS|^~\\&|\n" + ONE + TWO + b"BTS\n",
        b"FHS|^~\\&\r\nBHS|^~\\&\r\n" + ONE + b"BTS|1||\rBHS|^~\\&\r" + TWO + b"BTS|1\rFTS|2",
        b"FHS|^~\\&\r" + ONE + TWO,
    ],
)
def test_messages_come_out_as_they_went_in(content: bytes) -> None:
    assert is_batch(content)
    assert batch_messages(content) == (ONE, TWO)


@pytest.mark.parametrize("content", [b"", b"FHS", b"BHS\r", ONE, b"BTS|1"])
def test_what_is_no_batch(content: bytes) -> None:
    assert not is_batch(content)


@pytest.mark.parametrize(
    ("content", "segment"),
    [
        (b"BHS|^~\\&\r" + ONE + b"BTS|2\r", "BTS"),
        (b"BHS|^~\\&\r" + ONE + b"BTS|x\r", "BTS"),
        (b"FHS|^~\\&\rBHS|^~\\&\r" + ONE + b"BTS|1\rFTS|2\r", "FTS"),
        (b"BHS|^~\\&\rPID|1\r" + ONE, "BHS"),
        (b"BHS|^~\\&\r" + ONE + b"BTS|1\rPID|1\r", "BHS"),
        (b"BHS|^~\\&\r" + b"MSH|\r" * (MAXIMUM_MESSAGES + 1), "BHS"),
    ],
)
def test_a_batch_that_is_not_whole_gives_nothing(content: bytes, segment: str) -> None:
    with pytest.raises(ContentFault) as caught:
        batch_messages(content)
    assert caught.value.segment == segment
