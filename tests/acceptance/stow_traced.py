"""What a tracer runs: a DICOMweb process and a client that stores new, repeated and odd objects.

    python -m tests.acceptance.stow_traced FOLDER

Prints the port and the statuses as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.builders import mr_image
from tests.dicomweb_room import body_of, part10, running_room

REQUESTS = 12


def main() -> None:
    """Store, one request after the other."""
    with running_room(Path(sys.argv[1])) as room:
        statuses = []
        for number in range(REQUESTS):
            parts = [
                part10(mr_image(study=f"T{number // 2 * 2}", instance=each)) for each in range(3)
            ]
            if number % 4 == 0:
                parts.append(part10(mr_image(study=f"odd{number}"), sop_instance="1.2.3"))
            statuses.append(room.post(body_of(parts)).status)
        print(json.dumps({"port": room.port, "statuses": statuses}))


if __name__ == "__main__":
    main()
