"""Labels by token scores: a question an observation, decided by the odds of yes and no."""
