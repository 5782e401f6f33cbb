"""From labels to models: cohorts, folds, pixels, classifiers, metrics, registry, inference."""
