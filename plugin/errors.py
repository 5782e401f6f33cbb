"""Errors of the application; the class decides what happens next, the message says why."""


class PluginError(Exception):
    """Something in the application went wrong."""


class Transient(PluginError):
    """Trying again later may succeed: a child process died or a peer is away."""


class Permanent(PluginError):
    """Trying again cannot succeed: the input or the configuration must change."""


class NeedsReview(PluginError):
    """Only a person can decide: evidence contradicts itself or an outcome is ambiguous."""


class NodeIsRunning(Transient):
    """Another process holds the data folder."""


class ChildFailed(Transient):
    """A child process that labels, trains or predicts ended without a result."""


class TaskBroke(Permanent):
    """A child process met an error that its task does not foresee; the process goes on."""
