"""Storage commitment, Push Model (PS3.4 Annex J), as provider and as user."""
