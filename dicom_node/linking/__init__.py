"""Linking: which report belongs to which study, and never to the wrong patient."""
