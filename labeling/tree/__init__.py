"""Labels by a tree of questions: presence, probability, location and severity."""
