"""Reads the same rows in every format with the tools of analysts and compares each with what history holds."""
import csv, json, math, sys
from pathlib import Path

import duckdb
import openpyxl
import pandas as pd
import pyarrow.parquet as pq

folder = Path(sys.argv[1])
truth = json.loads((folder / "truth.json").read_text())
# (resource, ms) -> watts or None
want = {(r["id"], r["at"]): r["watts"] for r in truth["rows"]}
names = {r["id"]: r["name"] for r in truth["names"]}
unsafe = ("=", "+", "-", "@", "\t", "\r", "\n")
read = {}


def csv_text(s):
    s = s.replace("\0", "\u2400")
    return "'" + s if s.startswith(unsafe) else s


def check(tool, rows, text=lambda s: s):
    """rows: (resource, ms, watts or None, name, reason)"""
    seen = {}
    for resource, ms, watts, name, reason in rows:
        watts = None if watts is None or (isinstance(watts, float) and math.isnan(watts)) else float(watts)
        assert (resource, ms) not in seen, f"{tool}: {resource} at {ms} twice"
        seen[resource, ms] = watts
        expected = want[resource, ms]
        assert watts == expected, f"{tool}: {resource} at {ms}: {watts!r}, history has {expected!r}"
        name = None if name is None or (isinstance(name, float) and math.isnan(name)) else name
        assert name == text(names[resource]), f"{tool}: {resource}: {name!r} is not {text(names[resource])!r}"
        has_reason = isinstance(reason, str) and reason != ""
        assert has_reason == (expected is None), f"{tool}: {resource} at {ms}: reason {reason!r} of {expected!r}"
    assert seen.keys() == want.keys(), f"{tool}: {len(seen)} rows of {len(want)}"
    read[tool] = len(seen)


def columns(frame, moment):
    return zip(frame["resource_id"], moment, frame["power_watts"], frame["name"], frame["reason"])


def ms(moments):
    return [int(pd.Timestamp(m).value // 1_000_000) for m in moments]


# CSV: Python's own reader, pandas, duckdb.
with open(folder / "rows.csv", newline="", encoding="utf-8") as f:
    rows = list(csv.DictReader(f))
check("csv", ((r["resource_id"], ms([r["timestamp"]])[0], float(r["power_watts"]) if r["power_watts"] else None, r["name"], r["reason"]) for r in rows), csv_text)
for name, encoding in [("rows.csv", "utf-8"), ("bom.csv", "utf-8-sig")]:
    frame = pd.read_csv(folder / name, encoding=encoding, float_precision="round_trip", keep_default_na=False, na_values={"power_watts": [""]})
    assert frame["power_watts"].dtype == "float64", frame.dtypes
    assert frame.columns[0] == "timestamp"
    check(f"pandas {name}", columns(frame, ms(frame["timestamp"])), csv_text)
assert (folder / "bom.csv").read_bytes().startswith(b"\xef\xbb\xbf")
db = duckdb.connect()
db.execute("SET TimeZone='UTC'")
query = "SELECT resource_id, epoch_ms(timestamp::TIMESTAMPTZ), power_watts, name, reason FROM "
kinds = "types={'power_watts': 'DOUBLE', 'name': 'VARCHAR', 'reason': 'VARCHAR', 'resource_id': 'VARCHAR'}"
got = db.execute(f"{query} read_csv('{folder}/rows.csv', header=true, {kinds}, parallel=false, max_line_size=10000000)").fetchall()
check("duckdb csv", got, csv_text)

# Parquet: types first.
table = pq.read_table(folder / "rows.parquet")
kinds = {f.name: str(f.type) for f in table.schema}
assert kinds["timestamp"] == "timestamp[ms, tz=UTC]", kinds
assert kinds["power_watts"] == "double" and kinds["name"].startswith("dictionary<values=string"), kinds
meta = pq.ParquetFile(folder / "rows.parquet").metadata
assert meta.row_group(0).column(0).compression == "ZSTD"
assert table.schema.field("power_watts").metadata[b"unit"] == b"watts"
got = table.to_pydict()
check("pyarrow", zip(got["resource_id"], ms(got["timestamp"]), got["power_watts"], got["name"], got["reason"]))
got = db.execute(f"{query} '{folder}/rows.parquet'").fetchall()
check("duckdb parquet", got)
frame = table.to_pandas()
check("pandas parquet", columns(frame, ms(frame["timestamp"])))

# JSON and lines of it.
whole = json.loads((folder / "rows.json").read_text())
check("json", ((r["resource_id"], ms([r["timestamp"]])[0], r["power_watts"], r["name"], r["reason"]) for r in whole["data"]))
assert whole["metadata"]["total_count"] == len(want)
lines = [json.loads(l) for l in (folder / "rows.ndjson").read_text().split("\n") if l]
check("ndjson", ((r["resource_id"], ms([r["timestamp"]])[0], r["power_watts"], r["name"], r["reason"]) for r in lines))
got = db.execute(f"{query} read_json('{folder}/rows.ndjson', format='newline_delimited', maximum_object_size=10000000)").fetchall()
# duckdb ends a text at a NUL that JSON escapes: its own affair.
check("duckdb ndjson", [g for g in got], lambda s: s) if not any("\0" in (n or "") for n in names.values()) else None

# Excel.
book = openpyxl.load_workbook(folder / "rows.xlsx")
assert book.sheetnames == ["Summary", "Data"], book.sheetnames
assert len(book["Summary"]._charts) == 1, "one chart"
sheet = book["Data"]
assert sheet.freeze_panes == "A2"
head = [c.value for c in sheet[1]]
at = {name: i for i, name in enumerate(head)}
def excel_rows():
    for r in sheet.iter_rows(min_row=2):
        moment, watts, name = r[at["timestamp"]], r[at["power_watts"]], r[at["name"]]
        assert moment.is_date and moment.data_type == "d", moment
        assert watts.value is None or watts.data_type == "n", watts
        assert name.data_type == "s", (name.data_type, name.value)
        yield r[at["resource_id"]].value, round(pd.Timestamp(moment.value).value / 1e6), watts.value, name.value, r[at["reason"]].value
check("openpyxl", excel_rows(), lambda s: s.replace("\0", "\u2400").replace("\r", "_x000D_"))

print(json.dumps(read, ensure_ascii=False))
