"""Words that tables of old reports use: names of columns, of statuses, sexes and modalities.

They only make proposals; what counts is the mapping that a person has looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "patient_id": (
        "patientid", "patid", "pid", "mrn", "medicalrecordnumber", "patientnumber", "patnr",
        "patientennummer", "patientenid", "ipp", "numeropatient", "subjectid", "patient",
    ),
    "issuer_of_patient_id": (
        "issuerofpatientid", "patientidissuer", "assigningauthority", "issuer", "mandant",
        "patientissuer",
    ),
    "patient_name": ("patientname", "patientsname", "name", "patientenname", "nompatient"),
    "family_name": ("familyname", "lastname", "surname", "nachname", "nom"),
    "given_name": ("givenname", "firstname", "forename", "vorname", "prenom"),
    "birth_date": (
        "birthdate", "dateofbirth", "dob", "patientbirthdate", "patientsbirthdate", "birthday",
        "geburtsdatum", "gebdat", "datedenaissance",
    ),
    "sex": ("sex", "gender", "patientsex", "patientssex", "geschlecht", "sexe"),
    "accession_number": (
        "accessionnumber", "accession", "accessionno", "accnr", "acc", "auftragsnummer",
        "auftrag", "numeroaccession", "accessionnr",
    ),
    "issuer_of_accession_number": ("issuerofaccessionnumber", "accessionissuer"),
    "study_instance_uid": ("studyinstanceuid", "studyuid", "studyiuid", "dicomstudyuid"),
    "report_number": (
        "reportid", "reportnumber", "reportno", "fillerordernumber", "documentid", "befundid",
        "befundnummer",
    ),
    "study_date": (
        "studydate", "examdate", "examinationdate", "proceduredate", "observationdate",
        "studydatetime", "examdatetime", "untersuchungsdatum", "dateexamen",
    ),
    "report_date": (
        "reportdate", "reportdatetime", "signeddate", "verifieddate", "finalizeddate",
        "resultdate", "signedat", "befunddatum", "datecompterendu",
    ),
    "status": ("status", "reportstatus", "resultstatus", "befundstatus", "statut"),
    "modality": ("modality", "modalitaet", "modalität", "modalite"),
    "procedure": (
        "procedure", "proceduredescription", "studydescription", "exam", "examination",
        "untersuchung", "examdescription",
    ),
    "interpreter": ("radiologist", "interpreter", "readingphysician", "signedby", "befunder"),
    "document": ("document", "pdf", "filename", "file", "pdffile", "documentfile", "datei"),
}  # fmt: skip
"""For each use the names of columns, in lower case, letters and digits only; the best first."""

TEXTS: Mapping[str, tuple[str, ...]] = {
    "HISTORY": (
        "history", "clinicalhistory", "indication", "clinicalinformation", "anamnese",
        "fragestellung", "klinischeangaben",
    ),
    "TECHNIQUE": ("technique", "technik"),
    "COMPARISON": ("comparison", "vergleich", "voraufnahmen"),
    "FINDINGS": ("findings", "finding", "befund", "resultats"),
    "IMPRESSION": ("impression", "conclusion", "beurteilung", "summary", "opinion"),
    "ADDENDUM": ("addendum", "nachtrag"),
    "REPORT": (
        "report", "reporttext", "text", "fulltext", "body", "narrative", "befundtext",
        "compterendu", "result",
    ),
}  # fmt: skip
"""For each heading the names of columns that hold the text under it, in the order of a report."""

STATUSES: Mapping[str, str] = {
    "f": "F", "final": "F", "finalized": "F", "signed": "F", "verified": "F", "approved": "F",
    "freigegeben": "F", "vidiert": "F", "final report": "F",
    "p": "P", "prelim": "P", "preliminary": "P", "draft": "P", "wet read": "P", "dictated": "P",
    "transcribed": "P", "unsigned": "P", "vorläufig": "P",
    "c": "C", "corrected": "C", "amended": "C", "addendum": "C", "korrigiert": "C",
    "r": "R", "s": "S", "a": "A",
    "x": "X", "cancelled": "X", "canceled": "X", "storniert": "X",
}  # fmt: skip
"""What words of statuses mean in table 0123."""

SEXES: Mapping[str, str] = {
    "m": "M", "male": "M", "man": "M", "männlich": "M", "masculin": "M", "homme": "M",
    "f": "F", "female": "F", "woman": "F", "weiblich": "F", "w": "F", "féminin": "F", "femme": "F",
    "o": "O", "other": "O", "d": "O", "divers": "O",
    "u": "U", "unknown": "U", "unbekannt": "U",
}  # fmt: skip
"""What words of sexes mean in table 0001."""

MODALITIES: Mapping[str, str] = {
    "mri": "MR", "mrt": "MR", "irm": "MR", "magnetic resonance": "MR",
    "cat": "CT", "computed tomography": "CT", "tdm": "CT",
    "ultrasound": "US", "sono": "US", "echo": "US",
    "mammo": "MG", "mammography": "MG",
    "pet": "PT", "fluoro": "RF",
}  # fmt: skip
"""What words of modalities mean in DICOM; plain X-ray may be CR or DX and is left to a person."""


def plain(name: str) -> str:
    """Return a column's name as it is compared: lower case, letters and digits only."""
    return "".join(each for each in name.casefold() if each.isalnum())
