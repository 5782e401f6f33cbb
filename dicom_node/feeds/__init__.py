"""Feeds: how one sender departs from the standard, learned, tried and accepted."""
