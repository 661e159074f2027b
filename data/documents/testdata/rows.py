# SPDX-License-Identifier: Apache-2.0
"""Writes rows.parquet beside it, with PyPI pyarrow: python rows.py"""

import os

import pyarrow as pa
import pyarrow.parquet as pq

texts = ["first", "zwei ♥\n", None, "first", "", "third"] + [f"row {i}" for i in range(600)]
table = pa.table({
    "meta": [{"url": f"u{i}", "tags": ["a"] * (i % 3)} for i in range(len(texts))],
    "text": pa.array(texts, pa.string()),
    "score": [float(i) for i in range(len(texts))],
})
pq.write_table(table, os.path.join(os.path.dirname(os.path.abspath(__file__)), "rows.parquet"), row_group_size=400, compression="zstd", data_page_size=512)
