"""Labels by template: one constrained JSON object a report."""
