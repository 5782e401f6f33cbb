"""One fuzz target in a process of its own: ``python -m tests.fuzz.child TARGET [OPTIONS]``.

The address space is limited before anything of a peer is read. What the target lets escape ends the
process; libFuzzer then writes the input where its options say.
"""

from __future__ import annotations

import logging
import resource
import sys
import warnings

import atheris

with atheris.instrument_imports(include=["dicom_node"]):
    from tests.fuzz.targets import Limits, load

    TARGET = load(sys.argv[1])


def main() -> None:
    """Run one target until libFuzzer's limits are reached."""
    limits = Limits()
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The library complains in warnings that quote the value: none may reach a log.
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGET)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
