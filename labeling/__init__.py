"""Reading reports: a language model or rules turn report text into condition labels."""
