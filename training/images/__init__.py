"""Which images of a study a model looks at, and how they become arrays that mean the same."""
