"""Learning from a cohort: examples, the loop, checkpoints; architectures plug in."""
