"""De-identification of DICOM objects after PS3.15 Annex E; runs inside the confined process."""
