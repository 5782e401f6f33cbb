"""HL7 v2: from the bytes of a message to what it says."""
