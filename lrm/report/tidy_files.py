"""A report's numbers as tidy tables in CSV and Parquet, for people who draw their own figures."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from io import BytesIO

import pyarrow as pa
from pyarrow import csv, parquet

from lrm.analysis import tidy
from lrm.analysis.variant import Variant


def tidy_files(variants: Sequence[Variant]) -> dict[str, bytes]:
    """Files by path: a table of all settings, and one of all replies under each budget."""
    settings = pa.Table.from_pylist(tidy.settings(variants))
    replies = pa.table(tidy.replies(variants))
    return {
        "tidy/settings.csv": _csv(settings),
        "tidy/settings.parquet": _parquet(settings),
        "tidy/replies.csv.gz": gzip.compress(_csv(replies), mtime=0),
        "tidy/replies.parquet": _parquet(replies),
    }


def _csv(table: pa.Table) -> bytes:
    buffer = BytesIO()
    csv.write_csv(table, buffer)
    return buffer.getvalue()


def _parquet(table: pa.Table) -> bytes:
    buffer = BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
