"""De-identification by PS3.15: what is planted anywhere is found nowhere; what must stay stays."""

import dataclasses
import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import config
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless

from dicom_node.content import Undecodable
from dicom_node.deidentification.attributes import table, words
from dicom_node.deidentification.cleaning import (
    clean_age,
    clean_text,
    clean_time,
    is_number,
    shifted_date,
    shifted_date_time,
)
from dicom_node.deidentification.objects import _within, deidentified
from dicom_node.deidentification.profile import Option, Profile, shift_of
from dicom_node.sandbox import Sandbox
from tests.builders import mr_image, write_file

CANARY = "KANARIENVOGEL"
UID_CANARY = "1.2.826.0.1.3680043.10.1337.73917391"
DATE_CANARY = "19731204"
TEXT_VRS = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
BASIC: frozenset[Option] = frozenset()
EVERYTHING = frozenset(Option)
PROFILE = Profile(b"k" * 32, "P0123456789", 400, EVERYTHING, "radloop test")
# Without these no node would have filed the object.
NEEDED = {"SOPClassUID", "Modality", "PhotometricInterpretation", "SpecificCharacterSet"}


def open_image(tmp_path: Path, data_set: Dataset, *syntax: str) -> Path:
    return write_file(tmp_path / "image.dcm", data_set, *syntax)


def run(path: Path, profile: Profile = PROFILE) -> bytes:
    with path.open("rb") as file:
        return deidentified(file, profile, 2**20)


def read(content: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def image(**attributes: object) -> Dataset:
    return mr_image(
        ImagePositionPatient=[0, 0, 0],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[1, 2],
        SliceThickness=3,
        **attributes,
    )


def public_keywords() -> Iterator[tuple[int, str, str]]:
    """Yield every public attribute of one VR that a composite image could hold."""
    for tag, (vr, _, _, _, keyword) in sorted(DicomDictionary.items()):
        if keyword and 8 <= tag >> 16 < 0x7FE0 and keyword not in NEEDED:
            yield tag, vr, keyword


def planted(word: str = CANARY) -> Dataset:
    """Return an image with the word in every text attribute that the dictionary knows."""
    data_set = image()
    for tag, vr, _ in public_keywords():
        if vr in TEXT_VRS:
            data_set.add(DataElement(tag, vr, word[:16] if vr in ("AE", "SH") else word))
        elif vr == "CS":
            data_set.add(DataElement(tag, vr, word))
        elif vr == "UI" and tag not in data_set:
            data_set.add(DataElement(tag, vr, f"{UID_CANARY}.{tag}"))
        elif vr in ("DA", "DT"):
            data_set.add(DataElement(tag, vr, DATE_CANARY))
    data_set.PatientName = f"{word}^Anna"
    return data_set


def occurrences(content: bytes, *words_: str) -> list[str]:
    found = []
    for word in words_:
        for codec in ("utf-8", "utf-16-le", "utf-16-be"):
            found += [word] if word.encode(codec) in content else []
    return found


@pytest.mark.parametrize("options", [BASIC, EVERYTHING], ids=["basic", "every option"])
def test_no_text_attribute_of_the_dictionary_lets_a_word_through(
    tmp_path: Path, options: frozenset[Option]
) -> None:
    original = planted()
    assert len(original) > 1500
    content = run(open_image(tmp_path, original), dataclasses.replace(PROFILE, options=options))
    assert occurrences(content, CANARY, CANARY[:16], DATE_CANARY, "KANARI") == []


def test_no_uid_gets_through_unless_device_identity_is_kept(tmp_path: Path) -> None:
    path = open_image(tmp_path, planted())
    without_devices = EVERYTHING - {Option.DEVICE_IDENTITY}
    content = run(path, dataclasses.replace(PROFILE, options=without_devices))
    assert occurrences(content, UID_CANARY, UID_CANARY.split(".")[-1]) == []
    kept = read(run(path))
    devices = {each.keyword for each in kept if each.VR == "UI" and UID_CANARY in str(each.value)}
    assert devices == {"DeviceUID", "ManufacturerDeviceClassUID"}


def test_words_that_nobody_knows_to_be_names_go_too(tmp_path: Path) -> None:
    """The closed list holds, not the second net: here no name of the patient is the word."""
    original = planted()
    for keyword in ("PatientName", "PatientID", "AccessionNumber"):
        setattr(original, keyword, "")
    for element in list(original):
        if element.VR in ("PN", "CS") and CANARY in str(element.value):
            del original[element.tag]
    options = EVERYTHING - {Option.DEVICE_IDENTITY}
    content = run(open_image(tmp_path, original), dataclasses.replace(PROFILE, options=options))
    assert occurrences(content, CANARY, CANARY[:16]) == []


def test_private_nested_graphic_and_odd_elements_are_gone(tmp_path: Path) -> None:
    original = image(PatientName=f"{CANARY}^A", PatientID=CANARY)
    block = original.private_block(0x0029, "RADLOOP TEST", create=True)
    block.add_new(0x01, "LO", CANARY)
    block.add_new(0x02, "UN", CANARY.encode())
    inner = Dataset()
    inner.PatientName, inner.StudyDate, inner.ReferencedSOPInstanceUID = CANARY, DATE_CANARY, "1.2"
    inner.private_block(0x0029, "RADLOOP TEST", create=True).add_new(1, "LT", CANARY)
    inner.add_new(0x00189999, "UN", CANARY.encode() + b" ")
    outer = Dataset()
    outer.ReferencedImageSequence = [inner]
    original.SourceImageSequence = [outer]
    original.RequestAttributesSequence = [inner]
    original.OriginalAttributesSequence = [inner]
    original.add_new(0x60000010, "US", 8)
    original.add_new(0x60000022, "LO", CANARY)
    original.add_new(0x60003000, "OW", (CANARY + " ").encode())
    original.add_new(0x60001500, "LO", CANARY)
    original.add_new(0x50000030, "SH", CANARY)
    original.add_new(0x50003000, "OW", (CANARY + " ").encode())
    original.add_new(0x00081030, "PN", CANARY)  # a name where a description belongs
    original.add_new(0x00280030, "LO", CANARY)
    original.add_new(0x00091234, "UN", CANARY.encode() + b" ")
    letters = (CANARY + "   ").encode()
    numbers = [int.from_bytes(letters[n : n + 4], "little") for n in range(0, 16, 4)]
    original.add_new(0x00180081, "UL", numbers)
    original.EncapsulatedDocument = CANARY.encode() + b" "
    original.ICCProfile = CANARY.encode() + b" "
    original.add_new(0xFFFCFFFC, "OB", CANARY.encode() + b" ")
    content = run(open_image(tmp_path, original))
    assert occurrences(content, CANARY, DATE_CANARY) == []
    made = read(content)
    assert not [each for each in made if each.tag.is_private or each.tag.group >> 8 in (0x50, 0x60)]
    nested = made.SourceImageSequence[0].ReferencedImageSequence[0]
    assert nested.ReferencedSOPInstanceUID == PROFILE.uid("1.2")


def test_file_meta_preamble_and_stray_bits_hold_nothing(tmp_path: Path) -> None:
    original = image(BitsStored=12, HighBit=11)
    original.PixelData = b"\x01\xf0" * 64  # four bits beside the stored ones
    path = open_image(tmp_path, original)
    data = bytearray(path.read_bytes())
    data[: len(CANARY)] = CANARY.encode()
    path.write_bytes(bytes(data))
    content = run(path)
    assert content[:128] == bytes(128)
    made = read(content)
    assert "SourceApplicationEntityTitle" not in made.file_meta
    assert set(made.pixel_array.ravel()) == {1}
    assert made.PixelData == b"\x01\x00" * 64


def test_bits_beside_the_stored_ones_are_cleared() -> None:
    assert list(_within(np.array([0xF001, 0x0FFF], np.uint16), 12)) == [1, 0xFFF]
    assert list(_within(np.array([0x0801, 0x07FF, -1], np.int16), 12)) == [-2047, 2047, -1]
    assert list(_within(np.array([255], np.uint8), 8)) == [255]


def test_comments_of_an_encoder_do_not_survive(tmp_path: Path) -> None:
    original = image(rows=64)
    plain = original.PixelData
    path = open_image(tmp_path, original)
    compressed = pydicom.dcmread(path)
    compressed.compress(JPEG2000Lossless)
    frame = next(generate_frames(compressed.PixelData, number_of_frames=1))
    # A COM marker (ISO/IEC 15444-1 A.9.2) before the first tile-part.
    text = CANARY.encode() + b" "
    comment = b"\xff\x64" + (4 + len(text)).to_bytes(2, "big") + b"\x00\x01" + text
    cut = frame.index(b"\xff\x90")
    compressed.PixelData = encapsulate([frame[:cut] + comment + frame[cut:]])
    compressed.save_as(path)
    assert occurrences(path.read_bytes(), CANARY)
    content = run(path)
    assert occurrences(content, CANARY) == []
    assert read(content).PixelData == plain


def test_what_makes_the_image_stays(tmp_path: Path) -> None:
    original = image(
        EchoTime=90.5,
        ScanningSequence="SE",
        ImagedNucleus="1H",
        SeriesDescription="sag T2 TSE Dr. Maier 4711",
        PatientAge="093Y",
        PatientSex="F",
        PatientBirthDate="19330101",
        AcquisitionDateTime="20260102101112.5",
        AcquisitionTime="101112",
    )
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
        "122496007",
        "SCT",
        "Lumbar spine",
    )
    local = Dataset()
    local.CodeValue, local.CodingSchemeDesignator, local.CodeMeaning = "X1", "99LOCAL", "Maier"
    original.AnatomicRegionSequence = [code, local]
    made = read(run(open_image(tmp_path, original, ImplicitVRLittleEndian)))
    assert made.PixelData == original.PixelData
    for keyword in ("EchoTime", "PixelSpacing", "ImagePositionPatient", "Rows", "ImagedNucleus"):
        assert made[keyword].value == original[keyword].value
    assert made.SeriesDescription == "SAG T2 TSE"
    assert (made.PatientAge, made.PatientSex, made.PatientBirthDate) == ("090Y", "F", "")
    assert made.StudyDate == "20241128"  # 400 days before 2 January 2026
    assert made.AcquisitionDateTime == "20241128101112.5"
    assert made.AcquisitionTime == "101112"
    (kept,) = made.AnatomicRegionSequence
    assert (kept.CodeValue, kept.CodeMeaning) == ("122496007", "LUMBAR SPINE")
    assert (made.PatientName, made.PatientID) == (PROFILE.patient, PROFILE.patient)
    assert made.PatientIdentityRemoved == "YES"
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [each.CodeValue for each in made.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113105", "113109", "113107", "113108"]


def test_the_basic_profile_keeps_no_dates_and_no_characteristics(tmp_path: Path) -> None:
    path = open_image(
        tmp_path, image(PatientAge="050Y", PatientWeight=80, AcquisitionDate="20260102")
    )
    made = read(run(path, dataclasses.replace(PROFILE, options=BASIC)))
    assert made.StudyDate == made.AcquisitionDate == made.StudyTime == made.PatientSex == ""
    assert "PatientAge" not in made
    assert "PatientWeight" not in made
    assert "SeriesDescription" not in made
    assert made.LongitudinalTemporalInformationModified == "REMOVED"
    assert [each.CodeValue for each in made.DeidentificationMethodCodeSequence] == ["113100"]


def test_uids_are_the_same_under_one_secret_and_others_under_another(tmp_path: Path) -> None:
    one, two = image(), mr_image(instance=2)
    two.ReferencedImageSequence = [Dataset()]
    two.ReferencedImageSequence[0].ReferencedSOPInstanceUID = one.SOPInstanceUID
    two.ReferencedImageSequence[0].ReferencedSOPClassUID = one.SOPClassUID
    first, second = (read(run(open_image(tmp_path, each))) for each in (one, two))
    assert first.StudyInstanceUID == second.StudyInstanceUID
    reference = second.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == one.SOPClassUID
    assert first.SOPInstanceUID == first.file_meta.MediaStorageSOPInstanceUID
    assert first.SOPInstanceUID.startswith("2.25.")
    assert first.SOPInstanceUID.is_valid
    other = dataclasses.replace(PROFILE, key=b"x" * 32)
    assert read(run(open_image(tmp_path, one), other)).StudyInstanceUID != first.StudyInstanceUID


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "US"}, "modality"),
        ({"Modality": CANARY}, "modality"),
        ({"HighBit": 15, "BitsStored": 12}, "lowest"),
        ({"ModalityLUTSequence": [Dataset()]}, "lookup table"),
    ],
)
def test_objects_that_cannot_be_judged_are_refused(
    tmp_path: Path, attributes: dict[str, object], reason: str
) -> None:
    with pytest.raises(Undecodable, match=reason) as caught:
        run(open_image(tmp_path, image(**attributes)))
    assert CANARY not in str(caught.value)


def test_overlays_in_the_pixels_are_refused(tmp_path: Path) -> None:
    original = image(BitsStored=12, HighBit=11)
    original.add_new(0x60000102, "US", 12)
    with pytest.raises(Undecodable, match="overlay"):
        run(open_image(tmp_path, original))


def test_a_malformed_number_does_not_get_through(tmp_path: Path) -> None:
    original = image()
    original.add(DataElement(0x00180081, "DS", "90", validation_mode=config.IGNORE))
    path = open_image(tmp_path, original)
    head = b"\x18\x00\x81\x00DS\x02\x00"
    data = path.read_bytes()
    assert head + b"90" in data
    path.write_bytes(data.replace(head + b"90", head + b"Xy"))
    assert "EchoTime" not in read(run(path))


def test_the_confined_process_gives_the_same_bytes(tmp_path: Path) -> None:
    path = open_image(tmp_path, planted())
    with Sandbox() as sandbox:
        assert sandbox.deidentified(path, PROFILE) == run(path)
        bad = tmp_path / "bad.dcm"
        bad.write_bytes(b"no DICOM")
        with pytest.raises(Undecodable):
            sandbox.deidentified(bad, PROFILE)


def test_the_table_says_what_the_standard_says() -> None:
    rows = table()
    assert len(rows) > 600
    by_keyword = {each.keyword: each for each in rows.values()}
    assert by_keyword["PatientName"].basic == "Z"
    assert by_keyword["StudyInstanceUID"].basic == "U"
    assert by_keyword["PatientAge"].options == {Option.PATIENT_CHARACTERISTICS: "K"}
    assert by_keyword["StudyDate"].options == {Option.MODIFIED_DATES: "C"}
    assert by_keyword["SeriesDescription"].options == {Option.CLEAN_DESCRIPTORS: "C"}
    assert by_keyword["DeviceSerialNumber"].options == {Option.DEVICE_IDENTITY: "K"}
    assert {each.basic for each in rows.values()} == {
        "X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*",
    }  # fmt: skip


def test_cleaners() -> None:
    assert clean_text("AX T1 post Gd, Frau Maier, 12.03.1970") == "AX T1 POST GD"
    assert clean_text("M45 geb 1970") == ""
    assert [clean_age(each) for each in ("045Y", "089Y", "101Y", "012M", "45", "")] == [
        "045Y", "089Y", "090Y", "012M", "", "",
    ]  # fmt: skip
    assert shifted_date("20240301", 1) == "20240229"
    assert shifted_date("2024.03.01", 366) == "20230301"
    assert [shifted_date(each, 1) for each in ("", "20240231", "KANARI", "00010101")] == [""] * 4
    assert shifted_date_time("20240301101112.123456+0100", 1) == "20240229101112.123456+0100"
    assert [shifted_date_time(each, 1) for each in ("2024", "202403", "x")] == ["", "", ""]
    assert clean_time("101112.5") == "101112.5"
    assert clean_time("ANNA") == ""
    assert is_number(" -1.5e-3 ")
    assert not is_number("4711 Anna")
    assert "anna" not in words()


def test_a_value_that_names_the_patient_goes_alone_unless_all_spell_it(tmp_path: Path) -> None:
    original = image(PatientName="NONE^NORM", ImageType=["ORIGINAL", "PRIMARY", "NONE", "DIS2D"])
    original.ScanOptions = ["NO", "NE"]
    made = read(run(open_image(tmp_path, original)))
    assert list(made.ImageType) == ["ORIGINAL", "PRIMARY", "REMOVED", "DIS2D"]
    assert list(made.ScanOptions) == ["REMOVED", "REMOVED"]


def test_what_a_type_demands_is_there(tmp_path: Path) -> None:
    original = image(PatientSex="FEMALE", ScheduledProcedureStepID="1")
    original.Manufacturer, original.SoftwareVersions = "Siemens Healthineers of Anna", "Anna 1"
    original.AcquisitionContextSequence = original.ReferencedStudySequence = [image()]
    made = read(run(open_image(tmp_path, original), dataclasses.replace(PROFILE, options=BASIC)))
    assert made.Manufacturer == "SIEMENS HEALTHINEERS"
    assert made.SoftwareVersions == "REMOVED"
    assert len(made.AcquisitionContextSequence) == 0
    assert "ReferencedStudySequence" not in made
    assert read(run(open_image(tmp_path, original))).PatientSex == ""


def test_dates_of_a_patient_keep_their_distance() -> None:
    shift = shift_of(b"k", "P1")
    assert shift == shift_of(b"k", "P1")
    assert 366 <= shift <= 3652
    assert len({shift_of(b"k", f"P{number}") for number in range(50)}) > 40
    assert shift_of(b"x", "P1") != shift


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("options", [BASIC, EVERYTHING], ids=["basic", "every option"])
def test_dciodvfy_finds_no_new_error(tmp_path: Path, options: frozenset[Option]) -> None:
    from tests.unit.plugin.test_dicom_objects import instances

    path = tmp_path / "original.dcm"
    pydicom.dcmwrite(path, instances()[0], enforce_file_format=True)
    made = tmp_path / "made.dcm"
    made.write_bytes(run(path, dataclasses.replace(PROFILE, options=options)))
    assert errors_of(made) - errors_of(path) == set()


def errors_of(path: Path) -> set[str]:
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    return {line for line in done.stderr.splitlines() if line.startswith("Error")}
