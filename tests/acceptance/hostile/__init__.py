"""Attacks on a DICOM storage provider, and what is observed while it is under them."""
