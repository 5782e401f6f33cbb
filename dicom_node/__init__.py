"""The node: DICOM and HL7 come in, are stored, indexed and linked; structured reports go out."""
