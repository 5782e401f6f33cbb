"""Errors of the node; the class decides what happens next, the message says why."""


class DicomNodeError(Exception):
    """Something in the node went wrong."""


class Transient(DicomNodeError):
    """Trying again later may succeed: a peer is away, a disk is full, a lock is held."""


class Permanent(DicomNodeError):
    """Trying again cannot succeed: the input or the configuration must change."""


class NeedsReview(DicomNodeError):
    """Only a person can decide: evidence contradicts itself or an outcome is ambiguous."""


class InvalidSettings(Permanent):
    """A setting is missing, unknown or has a value that cannot work."""
