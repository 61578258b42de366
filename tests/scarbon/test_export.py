"""`scarbon export`: every table agrees with the report and the audit, in both formats, and with names replaced."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from accounting.exporting import TABLES
from scarbon import writers
from tests.ledger.servers import Place
from tests.site import CHECKOUT, Site, change

Rows = list[dict[str, Any]]


@pytest.fixture
def placed(recorded: Site, place: Place, tmp_path: Path) -> Site:
    """The recording, with its ledger on each database."""
    site = recorded.copy(tmp_path / "placed")
    if place.password is not None:
        (site.folder / "secret").write_text(f"{place.password}\n")
        site.change("ledger: sqlite:///ledger.db", f'ledger: {{url: "{place.url}", password_file: secret}}')
    return site


def read(path: Path) -> Rows:
    """A table; unknown is None, numbers are numbers."""
    kinds = {column.name: column.kind for table in TABLES if table.name == path.stem for column in table.columns}
    return [
        {name: _value(text, kinds[name]) for name, text in row.items()}
        for row in csv.DictReader(io.StringIO(path.read_text()))
    ]


def _value(text: str, kind: str) -> Any:
    if text == "":
        return None
    return text if kind == "text" else int(text) if kind == "integer" else float(text)


def total(rows: Iterable[dict[str, Any]], column: str) -> float:
    return sum(row[column] for row in rows if row[column] is not None)


def test_the_tables_say_what_report_and_audit_say(placed: Site, tmp_path: Path) -> None:
    placed.collect()
    out = tmp_path / "out"
    placed.good("export", "-o", out)
    assert {path.name for path in out.iterdir()} == {"jobs.csv", "balance.csv", "adjustments.csv", "columns.csv"}
    jobs = read(out / "jobs.csv")
    report = placed.good("report", "-S", "2026-09-01", "-E", "2026-12-01", "--format", "json").json
    gpu, host = ([row for row in jobs if row["kind"] == kind] for kind in ("gpu", "host"))
    groups = report["groups"]
    for rows, column, name in (
        (gpu, "energy_j", "gpu_energy_j"),
        (host, "energy_j", "host_energy_j"),
        (jobs, "facility_energy_j", "facility_energy_j"),
        (jobs, "co2e_location_g", "co2e_location_g"),
        (jobs, "co2e_market_g", "co2e_market_g"),
        (jobs, "co2e_embodied_g", "co2e_embodied_g"),
        (gpu, "held_s", "gpu_seconds"),
    ):
        assert total(rows, column) == pytest.approx(sum(group[name] or 0.0 for group in groups), rel=1e-9), name
    for group in groups:
        mine = [row for row in gpu if row["account"] == group["key"]]
        assert total(mine, "energy_j") == pytest.approx(group["gpu_energy_j"], rel=1e-9)
    (cluster,) = placed.good("audit", "--json").json["clusters"]
    balance = read(out / "balance.csv")
    for name in ("metered_j", "attributed_j", "idle_j"):
        assert total(balance, name) == pytest.approx(cluster[name], rel=1e-9)
    assert total(balance, "idle_co2e_location_g") == pytest.approx(report["idle"]["co2e_location_g"], rel=1e-9)
    assert {row["uuid"] for row in balance} == {device["uuid"] for device in cluster["devices"]}


def test_jobs_have_slurms_words(booked: Site, tmp_path: Path) -> None:
    booked.good("export", "-o", tmp_path / "jobs.csv")
    found = booked.good("jobs", "-a", "-D", "-S", "2020-01-01", "--json").json["jobs"]
    listed = {(job["job_id"], job["submit"]): job for job in found}
    rows = read(tmp_path / "jobs.csv")
    assert rows
    for row in rows:
        job = listed[row["job_id"], row["submit"]]
        for name in ("cluster", "job_id_raw", "user", "account", "partition", "qos", "state", "name"):
            assert row[name] == (job[name] or None), name


def test_every_column_is_told(booked: Site, tmp_path: Path) -> None:
    booked.good("export", "-o", tmp_path)
    told: dict[str, list[str]] = {}
    for row in csv.DictReader(io.StringIO((tmp_path / "columns.csv").read_text())):
        told.setdefault(row["table"], []).append(row["column"])
        assert row["meaning"]
    for table in TABLES:
        head = (tmp_path / f"{table.name}.csv").read_text().splitlines()[0]
        assert head == ",".join(told[table.name])


#: A promise to other programs: a column may be added at the end, none goes and none is renamed.
PROMISED = (
    "day,cluster,job_id,job_id_raw,submit,start,end,state,user,account,partition,qos,wckey,name,cpus,memory_mb,gpus,kind,"
    "model,method,held_s,known_s,measured_s,energy_j,facility_energy_j,co2e_location_g,co2e_market_g,co2e_embodied_g,"
    "modelled_j"
)


def test_the_jobs_alone_on_stdout(booked: Site, tmp_path: Path) -> None:
    out = booked.good("export", "-o", "-").out
    assert out.splitlines()[0].startswith(PROMISED)
    booked.good("export", "-o", tmp_path / "jobs.csv")
    assert (tmp_path / "jobs.csv").read_text() == out


def test_parquet_has_the_same_rows_with_their_types(booked: Site, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="NOT TESTED: Parquet, for which pyarrow is missing")
    booked.good("export", "-o", tmp_path / "csv")
    booked.good("export", "-o", tmp_path / "parquet", "--format", "parquet")
    for table in TABLES:
        found = parquet.read_table(tmp_path / "parquet" / f"{table.name}.parquet")
        assert found.column_names == table.names
        kinds = {"string": "text", "int64": "integer", "double": "number"}
        assert [kinds[str(field.type)] for field in found.schema] == [column.kind for column in table.columns]
        assert found.schema.field(0).metadata[b"meaning"]
        rows = [{name: value if value != "" else None for name, value in row.items()} for row in found.to_pylist()]
        assert rows == read(tmp_path / "csv" / f"{table.name}.csv")
    booked.good("export", "-o", tmp_path / "only.parquet")
    assert parquet.read_table(tmp_path / "only.parquet").column_names == TABLES[0].names


def test_without_pyarrow_it_is_said(booked: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "pyarrow":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    told = booked.scarbon("export", "--format", "parquet", "-o", tmp_path / "out").refused()
    assert "Parquet needs pyarrow" in told
    assert "pip install 'scarbon[parquet]'" in told
    assert not (tmp_path / "out").exists()


def test_days_and_clusters_are_chosen(days: Site, tmp_path: Path) -> None:
    site = days.copy(tmp_path / "site")
    site.collect()
    site.good("export", "-S", "2026-10-25", "-E", "2026-10-27", "-o", tmp_path / "two", "-M", "gamma")
    for name in ("jobs", "balance"):
        assert {row["day"] for row in read(tmp_path / "two" / f"{name}.csv")} == {"2026-10-25", "2026-10-26"}
    site.good("export", "-o", tmp_path / "all")
    whole = read(tmp_path / "all" / "jobs.csv")
    assert [row for row in whole if row["day"] in ("2026-10-25", "2026-10-26")] == read(tmp_path / "two" / "jobs.csv")
    assert {row["day"] for row in whole} == {f"2026-10-{day}" for day in range(25, 29)}


def test_names_are_replaced_by_a_keyed_hash(booked: Site, tmp_path: Path) -> None:
    salt = tmp_path / "salt"
    salt.write_text("0123456789abcdef\n")
    salt.chmod(0o600)
    booked.good("export", "-o", tmp_path / "named")
    for folder, words in (("users", []), ("all", ["--accounts"])):
        booked.good("export", "-o", tmp_path / folder, "--anonymise", salt, *words)
        rows, named = read(tmp_path / folder / "jobs.csv"), read(tmp_path / "named" / "jobs.csv")
        for row, was in zip(rows, named, strict=True):
            digest = hmac.new(b"0123456789abcdef", b"u\0" + was["user"].encode(), hashlib.sha256).hexdigest()
            assert row["user"] == f"u-{digest[:16]}"
            assert row["name"] is None
            assert (row["account"] == was["account"]) is (folder == "users")
            kept = [name for name in row if name not in ("user", "name", "account", "wckey")]
            assert [row[name] for name in kept] == [was[name] for name in kept]
    users = {row["user"] for row in read(tmp_path / "named" / "jobs.csv")}
    text = "".join(path.read_text() for path in (tmp_path / "all").iterdir())
    assert len(users) > 1
    assert not any(f",{user}," in text for user in users)


def test_unknown_is_empty(mine: Site, tmp_path: Path) -> None:
    change(mine.ledger, "UPDATE usage_days SET energy_j = NULL, location_g = NULL")
    mine.good("export", "-o", tmp_path / "jobs.csv")
    rows = read(tmp_path / "jobs.csv")
    assert {row["energy_j"] for row in rows} == {row["co2e_location_g"] for row in rows} == {None}
    assert all(row["held_s"] is not None for row in rows)


# --- what cannot be


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["-o", "-", "--format", "parquet"], 2, "Parquet is no text for stdout"),
        (["-o", "a.csv", "--format", "parquet"], 2, "a.csv is the name of a CSV file"),
        (["-o", "out", "-S", "2026-10-01T08:30"], 2, "is no midnight in Europe/Paris"),
        (["-o", "out", "-S", "2026-10-02", "-E", "2026-10-02"], 2, "the period ends before it begins"),
        (["-o", "out", "-M", "omega"], 2, "no cluster 'omega'"),
        (["-o", "out", "--accounts"], 2, "--accounts says what else --anonymise replaces"),
        (["-o", "out", "--anonymise", "/nowhere/salt"], 1, "/nowhere/salt, cannot be read: no such file"),
        (["-o", "/proc/nowhere/out"], 1, "/proc/nowhere"),
        (["-o", "nowhere/a.csv"], 1, "nowhere: there is no such folder; make it, or name another place"),
        (["-o", "out", "-S", "2027-01-01"], 1, "accounted; the books go from 2026-09-22 to 2026-09-22; check -S and"),
        (["-o", "out", "-E", "2020-01-01"], 1, "accounted; the books go from 2026-09-22 to 2026-09-22; check -S and"),
    ],
)
def test_bad_input_is_one_line(
    booked: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in booked.scarbon("export", *words).refused(code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [("short\n", 0o600, "holds 5 bytes, and a key has at least 16"), ("0123456789abcdef\n", 0o640, "others may read")],
)
def test_a_weak_secret_is_refused(booked: Site, tmp_path: Path, content: str, mode: int, says: str) -> None:
    salt = tmp_path / "salt"
    salt.write_text(content)
    salt.chmod(mode)
    assert says in booked.scarbon("export", "-o", "-", "--anonymise", salt).refused()


def test_what_is_there_is_replaced_only_by_force(booked: Site, tmp_path: Path) -> None:
    (tmp_path / "balance.csv").write_text("mine\n")
    assert "balance.csv is there already" in booked.scarbon("export", "-o", tmp_path).refused()
    assert [path.name for path in tmp_path.iterdir()] == ["balance.csv"]
    booked.good("export", "-o", tmp_path, "--force")
    assert (tmp_path / "balance.csv").read_text() != "mine\n"


def test_a_full_disk_leaves_nothing_half(booked: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "columns.csv")

    monkeypatch.setattr(writers, "write_columns", full)
    assert booked.scarbon("export", "-o", tmp_path).refused() == "scarbon: columns.csv: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_empty_books(fresh: Site, tmp_path: Path) -> None:
    assert "there is no ledger" in fresh.scarbon("export", "-o", tmp_path).refused()


def test_the_docs_have_every_column() -> None:
    lines = (CHECKOUT / "docs" / "export.md").read_text(encoding="utf-8").splitlines()
    for table in TABLES:
        first = lines.index(f"## {table.name}") + 6
        assert lines[first - 4] == f"{table.note}."
        assert lines[first : first + len(table.columns)] == [
            f"| `{one.name}` | {one.kind} | {one.unit} | {one.meaning} |" for one in table.columns
        ]
