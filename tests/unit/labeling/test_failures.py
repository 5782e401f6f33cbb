from labeling.failures import FailureCount
from labeling.labeler import LabelResult, failed
from labeling.schema_file import shipped_schema
from labeling.thresholds import Threshold, Thresholds
from labeling.vocabulary import WHOLE, State

SCHEMA = shipped_schema("neuro")


def test_reasons_are_counted_by_report_and_by_label() -> None:
    count = FailureCount()
    number = len(SCHEMA.observations)
    for _ in range(2):
        count.add(failed(SCHEMA, "the report is empty"))
    said = LabelResult("mass", WHOLE, State.PRESENT)
    count.add([said, LabelResult("atrophy", WHOLE, State.FAILED, detail="a key is missing")])
    count.add([said])
    assert count.reports == 2
    assert count.rows() == [
        {"reason": "the report is empty", "reports": 2, "labels": 2 * number},
        {"reason": "a key is missing", "reports": 1, "labels": 1},
    ]


def test_what_has_no_threshold_is_named() -> None:
    spine = shipped_schema("spine")
    fitted = Threshold(fitted_on=9)
    thresholds = Thresholds({"stenosis": fitted, "cancer": Threshold()}, {"herniation": fitted})
    missing = thresholds.unfitted(spine)
    assert "cancer" in missing
    assert "stenosis at its sites" in missing
    assert not {"stenosis", "herniation at its sites", "cancer at its sites"} & set(missing)
