"""A local language model learns to answer the questions of a schema: low-rank adapters."""
