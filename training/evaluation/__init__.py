"""Trained models against human reference labels: figures, splits, plans, and an audit of labels."""
