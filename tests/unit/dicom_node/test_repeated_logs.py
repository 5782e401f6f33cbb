"""A peer that makes the node say the same thing for ever does not fill the log."""

import logging

from dicom_node.repeated_logs import RepeatFilter


def test_repeated_lines_are_counted_instead_of_written() -> None:
    now = 0.0
    written: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    handler = Keep()
    handler.addFilter(RepeatFilter(lambda: now))
    log = logging.Logger("node")
    log.addHandler(handler)
    for number in range(1000):
        log.warning("cut off: %s", number)
    log.warning("something else")
    for _ in range(30):
        log.critical("the disk failed")
    assert len(written) == 10 + 1 + 30
    now = 61.0
    log.warning("cut off: %s", "late")
    assert written[-1] == "cut off: late (and 990 times more before)"
