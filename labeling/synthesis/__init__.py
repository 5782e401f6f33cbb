"""Generated reports whose truth is known: what a language model and a student learn from."""
