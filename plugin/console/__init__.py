"""A read-only status page on loopback."""
