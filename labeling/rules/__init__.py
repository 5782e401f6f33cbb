"""Labels by rules: statements found by words, asserted, doubted or denied by cues."""
