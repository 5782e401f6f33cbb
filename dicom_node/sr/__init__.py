"""Structured reports that we write, and how they are read and shown."""
