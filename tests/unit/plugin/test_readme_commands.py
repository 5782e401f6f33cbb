"""Every command that README shows is one, with options that it has."""

import pytest
import typer

from plugin.cli import app
from tests.readme_commands import all_commands, blocks_of

COMMANDS = all_commands()


def test_readme_shows_commands() -> None:
    assert len(COMMANDS) > 8
    assert len(blocks_of("A schema of your own")[0]) > 6


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_of_readme_can_be_read(words: list[str]) -> None:
    command = typer.main.get_command(app)
    context = command.context_class(command, info_name="radloop")
    rest = words[1:]
    while hasattr(command, "resolve_command"):
        _, command, rest = command.resolve_command(context, rest)
        assert command is not None
        context = command.context_class(command, parent=context, info_name=command.name)
    # Files that are named need not be there; unknown options and words too many are refused.
    values, left, _ = command.make_parser(context).parse_args(rest)
    assert not left
    needed = {each.name for each in command.params if each.required}
    assert needed - {"config"} <= {name for name, value in values.items() if value is not None}
