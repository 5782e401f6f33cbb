"""Labels held against human readers: calibration, figures with intervals, comparison."""
