"""Reports: what was sent when, which version holds, and what its parts are."""
