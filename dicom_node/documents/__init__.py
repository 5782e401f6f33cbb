"""Documents that arrive as objects: what each is, and the rejection notes among them (IOCM)."""
