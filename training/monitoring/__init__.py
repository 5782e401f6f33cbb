"""How a model does on what arrives: agreement with later reports, calibration, drift."""
