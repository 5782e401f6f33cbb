"""Errors of labeling; the class decides what happens next, the message says why."""


class LabelingError(Exception):
    """Something in labeling went wrong."""


class Transient(LabelingError):
    """Trying again later may succeed: a model server is away or memory is short."""


class Permanent(LabelingError):
    """Trying again cannot succeed: the input or the configuration must change."""


class NeedsReview(LabelingError):
    """Only a person can decide: evidence contradicts itself or an outcome is ambiguous."""
