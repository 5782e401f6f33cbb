from plugin.rate import Rate


def test_progress_says_rate_and_time_left_at_most_once_a_second() -> None:
    now = [0.0]
    said: list[str] = []
    rate = Rate("rules", 200, said.append, lambda: now[0])
    rate.done()
    assert said == ["rules: 1 of 200 reports"]
    for _ in range(9):
        now[0] += 0.5
        rate.done()
    assert len(said) == 5
    assert said[-1] == "rules: 9 of 200 reports, 8,100 an hour, 85 s left"
    for _ in range(190):
        now[0] += 40
        rate.done()
    assert said[-1].endswith("200 of 200 reports, 95 an hour, 0 s left")
    assert any(line.endswith("h 30 min left") or " min left" in line for line in said)


def test_one_report_in_no_time_has_no_rate() -> None:
    said: list[str] = []
    Rate("rules", 1, said.append, lambda: 5.0).done()
    assert said == ["rules: 1 of 1 reports"]
