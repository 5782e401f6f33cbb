"""Members and exclusions as Apache Parquet files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from training.exports.members import ExportMember, LeftOut, dicom_path, image_path

MEMBERS, EXCLUSIONS = "members.parquet", "exclusions.parquet"


def members_file(members: Sequence[ExportMember], formats: Collection[str], cohort: str) -> bytes:
    """Return a Parquet file with one row a member, observation and site.

    Columns: patient, study (pseudonyms), fold, observation, site, target (1 present, 0 absent,
    null unknown), state and probability of the labeler for this site, or null, label_source
    ("labeler" or "readers", whose word the target is), image and dicom (paths in the export, or
    null), report_digest and labels_digest (keyed, or empty).

    Args:
        members: in the order of their rows.
        formats: of the export; decide on the paths.
        cohort: digest of the cohort, kept in the file's metadata.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    schema = pa.schema(
        [
            *(pa.field(name, text, nullable=False) for name in _KEYS),
            pa.field("target", number),
            pa.field("state", text),
            pa.field("probability", number),
            pa.field("label_source", text, nullable=False),
            pa.field("image", text),
            pa.field("dicom", text),
            pa.field("report_digest", text, nullable=False),
            pa.field("labels_digest", text, nullable=False),
        ],
        metadata={"cohort": cohort},
    )
    rows = [row for member in members for row in _rows(member, formats)]
    return _encoded(pa.Table.from_pylist(rows, schema=schema))


_KEYS = ("patient", "study", "fold", "observation", "site")


def _rows(member: ExportMember, formats: Collection[str]) -> Iterator[dict[str, Any]]:
    said = {(each.observation, each.site): each for each in member.labels}
    for observation, sites in member.targets.items():
        for site, target in sites.items():
            label = said.get((observation, site))
            yield {
                "patient": member.patient,
                "study": member.study,
                "fold": member.fold,
                "observation": observation,
                "site": site,
                "target": target,
                "state": label.state if label else None,
                "probability": label.probability if label else None,
                "label_source": member.label_source,
                "image": image_path(member) if "nifti" in formats else None,
                "dicom": dicom_path(member) if "dicom" in formats else None,
                "report_digest": member.report_digest,
                "labels_digest": member.labels_digest,
            }


def exclusions_file(left_out: Iterable[LeftOut], cohort: str) -> bytes:
    """Return a Parquet file with one row a study that is not in the export.

    Columns: patient, study (pseudonyms), reason, stage (see :class:`LeftOut`).
    """
    import pyarrow as pa

    names = ("patient", "study", "reason", "stage")
    schema = pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in names],
        metadata={"cohort": cohort},
    )
    return _encoded(pa.Table.from_pylist([asdict(each) for each in left_out], schema=schema))


def without(content: bytes, studies: Collection[str]) -> bytes:
    """Return a Parquet file without the rows of these studies."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(content))
    gone = pc.is_in(table["study"], value_set=pa.array(sorted(studies), pa.string()))
    return _encoded(table.filter(pc.invert(gone)))


def _encoded(table: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
