"""What a model's training inputs were like, and whether an input is one that it was made for."""
