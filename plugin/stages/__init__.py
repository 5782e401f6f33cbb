"""One file for each stage that the application runs, from label to send."""
