"""Words that feeds use for statuses, sexes, modalities and kinds of identifier, as data.

Left: what senders write, in upper case and without anything but letters and digits. Right: the
codes of HL7 tables 0123 (result status), 0085 (observation status) and 0001 (sex), and DICOM's
defined terms for Modality (PS3.3 C.7.3.1.1.1). A word that is not listed is never guessed at.
"""

from __future__ import annotations

import re

RESULT_STATUS_CODES = frozenset("ACFIOPRSXYZ")
"""Table 0123 of HL7 2.5.1."""

OBSERVATION_STATUS_CODES = frozenset("ABCDFINOPRSUVWX")
"""Table 0085 of HL7 2.5.1, with A, B and V of later versions."""

STATUS_WORDS = {
    "FINAL": "F",
    "FINALIZED": "F",
    "FINALISED": "F",
    "FINALREPORT": "F",
    "SIGNED": "F",
    "FINALSIGNED": "F",
    "VERIFIED": "F",
    "AUTHENTICATED": "F",
    "APPROVED": "F",
    "PRELIM": "P",
    "PRELIMINARY": "P",
    "PRELIMINARYREPORT": "P",
    "WETREAD": "P",
    "WET": "P",
    "DRAFT": "P",
    "UNSIGNED": "P",
    "UNVERIFIED": "R",
    "NOTVERIFIED": "R",
    "DICTATED": "R",
    "TRANSCRIBED": "R",
    "PENDING": "R",
    "PARTIAL": "S",
    "CORRECTED": "C",
    "CORRECTION": "C",
    "AMENDED": "C",
    "REVISED": "C",
    "ADDENDUM": "C",
    "ADDENDED": "C",
    "CANCELLED": "X",
    "CANCELED": "X",
    "ORDERED": "O",
    "SCHEDULED": "I",
    "INPROGRESS": "I",
}
"""The same for both tables: each code on the right means the same in 0123 and in 0085."""

AMBIGUOUS_STATUS_WORDS = {
    "COMPLETE": "the examination may be complete (I) or the report final (F)",
    "COMPLETED": "the examination may be complete (I) or the report final (F)",
    "CM": "the examination may be complete (I) or the report final (F)",
    "READ": "the report may be dictated (R) or final (F)",
    "REPORTED": "the report may be dictated (R) or final (F)",
    "ENTEREDINERROR": "the report may be cancelled (X) or of another patient (W)",
    "RETRACTED": "the report may be cancelled (X) or of another patient (W)",
    "WITHDRAWN": "the report may be cancelled (X) or of another patient (W)",
    "DELETED": "a part may be deleted (D) or the report cancelled (X)",
}
"""Words that are known and mean different things at different sites: a person must choose."""

SEX_CODES = frozenset("MFOU")
SEX_WORDS = {
    "MALE": "M",
    "MAN": "M",
    "FEMALE": "F",
    "WOMAN": "F",
    "OTHER": "O",
    "DIVERSE": "O",
    "UNKNOWN": "U",
    "AMBIGUOUS": "O",
    "A": "O",
    "N": "U",
    "NOTAPPLICABLE": "U",
}

_MODALITIES = """
AR ASMT AU BDUS BI BMD CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD
IO IOL IVOCT IVUS KER KO LEN LS MG MR M3D NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT
PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN
RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC
"""
MODALITIES = frozenset(_MODALITIES.split())
MODALITY_WORDS = {
    "MRI": "MR",
    "MRT": "MR",
    "CAT": "CT",
    "ULTRASOUND": "US",
    "SONO": "US",
    "MAMMO": "MG",
    "MAMMOGRAPHY": "MG",
    "FLUORO": "RF",
    "NUC": "NM",
    "ANGIO": "XA",
}
AMBIGUOUS_MODALITY_WORDS = {
    "XRAY": "plain films may be CR or DX in the images",
    "XR": "plain films may be CR or DX in the images",
    "DR": "plain films may be CR or DX in the images",
    "RADIOGRAPHY": "plain films may be CR or DX in the images",
    "PET": "the images may be PT and CT",
}

PATIENT_ID_TYPES = frozenset({"MR", "MRN", "PI", "PT", "PID", "EPI", "CPI", "EMPI", "EN", "MRT"})
"""Table 0203 and usual spellings: identifiers that an authority gives to each of its patients."""

OTHER_ID_TYPES = frozenset({"AN", "VN", "SS", "SSN", "DL", "PPN", "NH", "MA", "MC", "BC", "LR"})
"""Table 0203: accounts, visits, papers and insurances, which several people may share."""

_NOT_A_LETTER = re.compile(r"[\W_]+")


def plain(text: str) -> str:
    """Return a sender's word as the tables of this file spell it."""
    return _NOT_A_LETTER.sub("", text).upper()
