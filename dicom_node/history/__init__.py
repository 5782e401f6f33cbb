"""Reports from the past: files of many forms become messages of a feed of their own."""
