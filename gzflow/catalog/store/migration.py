"""Bringing a store of an earlier format up to date, in the transaction that makes its new tables."""

from __future__ import annotations

from sqlalchemy import Connection, text

from gzflow.catalog.store import schema


def migrate_to_2(connection: Connection) -> None:
    """Galaxies and failures learn which catalog file they came from; files are known by their content."""
    for table in (schema.galaxies, schema.failures):
        connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN ingest INTEGER"))
    schema.catalog_files.create(connection)
    connection.execute(
        text(
            "INSERT INTO catalog_files (survey, number, path, counts, at)"
            " SELECT survey, row_number() OVER (PARTITION BY survey ORDER BY source), source, counts, at FROM ingests"
        )
    )
    # Where a survey had one file, its galaxies came from it.
    connection.execute(
        text(
            "UPDATE galaxies SET ingest = 1 WHERE survey IN"
            " (SELECT survey FROM catalog_files GROUP BY survey HAVING count(*) = 1)"
        )
    )
    connection.execute(text("DROP TABLE ingests"))
