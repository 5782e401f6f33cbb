"""One fuzz target in a process of its own: ``python -m tests.fuzz.child TARGET FOLDER [OPTIONS]``.

The address space is limited before anything of a peer is read. What the target lets escape ends the
process, and the input is written to FOLDER under the name that libFuzzer would give it.
"""

from __future__ import annotations

import hashlib
import logging
import resource
import signal
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dicom_node"]):
    from tests.fuzz.targets import Limits, load

    TARGET = load(sys.argv[1])


def _run(data: bytes) -> None:
    try:
        TARGET(data)
    except BaseException:
        # libFuzzer writes it as the process ends, unless its own alarm is faster.
        signal.setitimer(signal.ITIMER_REAL, 0)
        Path(sys.argv[2], f"crash-{hashlib.sha1(data).hexdigest()}").write_bytes(data)
        raise


def main() -> None:
    """Run one target until libFuzzer's limits are reached."""
    limits = Limits()
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The library complains in warnings that quote the value: none may reach a log.
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    atheris.Setup([sys.argv[0], f"-artifact_prefix={sys.argv[2]}/", *sys.argv[3:]], _run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
