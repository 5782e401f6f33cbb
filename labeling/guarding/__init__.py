"""Keeps what is written in a report from commanding the model that reads it."""
