"""Exports of a frozen cohort: parquet, MONAI datalist, NIfTI and de-identified DICOM files."""
