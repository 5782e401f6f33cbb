"""The application: settings, stages, workflows, command line, console, demonstration."""
