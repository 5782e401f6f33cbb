"""Hold a finished demonstration against its promises: ``python -m tests.acceptance.demo OUT``.

Exit status 0 only if every promise is kept. The last line is JSON with the figures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LEAST_AUROC = 0.80
LEAST_AGREEMENT = 0.80  # in balanced accuracy, by thresholds of other patients; chance is .5


def promises(out: Path, summary: dict[str, Any]) -> list[tuple[str, bool]]:
    """Return every promise and whether it is kept."""
    reports, sr = summary["reports"], summary["sr"]
    rendered = list((out / "reports").glob("*.txt"))
    return [
        ("nothing went wrong by its own account", summary["problems"] == []),
        ("no wrong link", summary["links"]["wrong"] == 0),
        ("no missing link", summary["links"]["missing"] == 0),
        (
            "what must stay unlinked is unlinked",
            reports["unlinked_expected"] == reports["sent_to_stay_unlinked"] > 0,
        ),
        ("every predicted study has its report", sr["delivered"] == sr["predicted_studies"] > 0),
        ("at least 60 patients", summary["patients"] >= 60),
        (
            "disc narrowing on held-out patients",
            summary["classifier"]["auroc"]["disc_narrowing"] >= LEAST_AUROC,
        ),
        ("both labelers read the reports", {"rules", "token_scores"} <= set(summary["labels"])),
        ("the language model's labels train", summary["labeler"]["chosen"] == "token_scores"),
        (
            "they agree with the simulated reader, present against the rest",
            summary["labeler"]["mean_balanced_accuracy"]["token_scores"] >= LEAST_AGREEMENT,
        ),
        ("reports are rendered", len(rendered) == sr["predicted_studies"]),
        ("pictures are drawn", all((out / "pictures" / n).exists() for n in _PICTURES)),
        ("it says that it is simulated", summary["simulated"] is True),
    ]


_PICTURES = ("roc.png", "study.png")


def main() -> int:
    """Check the folder that is named on the command line."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    checked = promises(out, summary)
    for promise, kept in checked:
        print(f"{'ok    ' if kept else 'BROKEN'}  {promise}")
    figures = {
        "auroc": summary["classifier"]["auroc"],
        "agreement_with_reader": summary["labeler"]["mean_balanced_accuracy"],
        "labels": {
            name: {each: round(row["balanced_accuracy"], 3) for each, row in found.items()}
            for name, found in summary["labels"].items()
        },
        "links": summary["links"],
        "sr": summary["sr"],
        "seconds": summary["seconds"],
        "kept": all(kept for _, kept in checked),
    }
    print(json.dumps(figures))
    return 0 if figures["kept"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
