import io

from rich.console import Console

from plugin.tables import print_result


def test_what_peers_sent_is_text_and_not_markup() -> None:
    out = io.StringIO()
    rows = [{"reason": "set it in [dicom] and [hl7]", "name": "[red]x[/red]"}]
    print_result({"unlinked": rows, "one": "[bold]", "none": None}, Console(file=out, width=120))
    text = out.getvalue()
    assert "set it in [dicom] and [hl7]" in text
    assert "[red]x[/red]" in text
    assert "one: [bold]" in text
    assert "none: -" in text
