"""The demonstration: the whole loop on a simulated hospital."""
