"""The MLLP listener."""

from __future__ import annotations

from dicom_node.mllp.listener_old import MllpListener

__all__ = ["MllpListener"]
