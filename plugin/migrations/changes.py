"""Steps that migrations are made of; each does nothing where its work is done already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlmodel import SQLModel


def add_missing_tables(connection: sa.Connection) -> None:
    """Create every table of the models that the database does not have."""
    SQLModel.metadata.create_all(connection)


def add_missing_columns(
    connection: sa.Connection, table_name: str, values: Mapping[str, str]
) -> list[str]:
    """Add columns of a model, with their indexes; return the names of those that were added.

    Args:
        connection: inside the migration's transaction.
        table_name: a table of the models.
        values: by name of a column, the text that the rows of earlier layouts get.
    """
    table = SQLModel.metadata.tables[table_name]
    present = {column["name"] for column in sa.inspect(connection).get_columns(table_name)}
    preparer = connection.dialect.identifier_preparer
    added = [name for name in values if name not in present]
    for name in added:
        column = table.columns[name]
        kind = column.type.compile(connection.dialect)
        default = sa.literal(values[name]).compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        connection.exec_driver_sql(
            f"ALTER TABLE {preparer.format_table(table)} "
            f"ADD COLUMN {preparer.format_column(column)} {kind} NOT NULL DEFAULT {default}"
        )
    for index in table.indexes:
        index.create(connection, checkfirst=True)
    return added


def add_nullable_columns(
    connection: sa.Connection, table_name: str, names: Sequence[str]
) -> list[str]:
    """Add columns of a model that earlier rows leave empty; return the names that were added."""
    table = SQLModel.metadata.tables[table_name]
    present = {column["name"] for column in sa.inspect(connection).get_columns(table_name)}
    preparer = connection.dialect.identifier_preparer
    added = [name for name in names if name not in present]
    for name in added:
        column = table.columns[name]
        kind = column.type.compile(connection.dialect)
        connection.exec_driver_sql(
            f"ALTER TABLE {preparer.format_table(table)} "
            f"ADD COLUMN {preparer.format_column(column)} {kind}"
        )
    return added
