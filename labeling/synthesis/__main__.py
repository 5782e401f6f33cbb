"""Check a wording file: ``python -m labeling.synthesis check FILE [--schema SCHEMA.yaml]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from labeling.errors import Permanent
from labeling.schema_file import load_schema, shipped_schema
from labeling.synthesis.wording_file import load_wording


def main(arguments: list[str] | None = None) -> int:
    """Check a file; return 0 where it can be used and 1, with the reason, where it cannot."""
    parser = argparse.ArgumentParser(prog="python -m labeling.synthesis", description=__doc__)
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("check", help="tell whether a wording file can be used")
    check.add_argument("file", type=Path)
    check.add_argument("--schema", type=Path, help="schema file; without it, a shipped schema")
    check.add_argument("--language", default="en")
    given = parser.parse_args(arguments)
    try:
        schema = load_schema(given.schema) if given.schema else shipped_schema(given.file.stem)
        own = load_wording(schema, given.language, given.file).own
    except Permanent as error:
        print(error, file=sys.stderr)
        return 1
    missing = [each.id for each in schema.observations if each.id not in own.observations]
    print(f"{given.file.name}: usable for {schema.name}; {len(own.observations)} observations")
    if missing:
        print(f"said by the schema's names only: {', '.join(missing)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
