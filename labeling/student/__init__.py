"""Labels by a small encoder with attention pooling, trained on labelled reports."""
