"""Windows of CT by name, in Hounsfield units: the usual settings of reading stations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Centre and width in Hounsfield units."""

    center: float
    width: float


CT_WINDOWS: dict[str, Window] = {
    "lung": Window(-600.0, 1500.0),
    "bone": Window(400.0, 1800.0),
    "soft_tissue": Window(40.0, 400.0),
    "brain": Window(40.0, 80.0),
}
"""Names that a rule may use for CT."""

AS_STORED, DECLARED = "none", "declared"
"""No window: the units of the modality. The window or table that the file declares."""
