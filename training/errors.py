"""Errors of training; the class decides what happens next, the message says why."""


class TrainingError(Exception):
    """Something in training went wrong."""


class Transient(TrainingError):
    """Trying again later may succeed: a disk is full or memory is short."""


class Permanent(TrainingError):
    """Trying again cannot succeed: the input or the configuration must change."""


class NeedsReview(TrainingError):
    """Only a person can decide: evidence contradicts itself or an outcome is ambiguous."""
