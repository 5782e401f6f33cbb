"""Numbered changes of the database layout."""
