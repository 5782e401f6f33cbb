"""One file for each architecture; they enter by the entry-point group ``radloop.architectures``."""
