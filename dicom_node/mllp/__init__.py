"""MLLP: HL7 v2 messages over TCP, each answered after it is safe on the disk."""
