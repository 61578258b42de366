"""`scarbon budget`, and what `scarbon jobs` says of budgets below its table."""

from __future__ import annotations

import io
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.site import Site

DAY_S = 86_400


@pytest.fixture(scope="module")
def month(days: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """25 to 28 October 2026 in Paris, accounted; not to be written to."""
    site = days.copy(tmp_path_factory.mktemp("month"))
    site.collect()
    return site


@pytest.fixture
def site(month: Site, tmp_path: Path) -> Site:
    return month.copy(tmp_path / "site")


@pytest.fixture(scope="module")
def groups(month: Site) -> dict[str, dict[str, Any]]:
    """What each account used in October, as the report has it."""
    found = month.good("report", "--month", "2026-10", "--format", "json").json["groups"]
    return {group["key"]: group for group in found}


def declare(site: Site, *budgets: str) -> None:
    lines = "".join(f"  - {{{one}}}\n" for one in budgets)
    site.config.write_text(site.config.read_text() + f"budgets:\n{lines}")


def account_of(groups: dict[str, dict[str, Any]]) -> tuple[str, float]:
    """An account, and its kgCO2e in October."""
    account = min(groups)
    return account, groups[account]["co2e_location_g"] / 1000


def test_within_near_and_past(site: Site, groups: dict[str, dict[str, Any]]) -> None:
    account, kg = account_of(groups)
    plain = site.config.read_text()
    for share, code, said in ((0.5, 0, ""), (0.9, 0, "above 80%"), (1.01, 1, "exceeded")):
        site.config.write_text(plain)
        declare(site, f"account: {account}, period: month, kgco2e: {kg / share}, from: 2026-10-01, to: 2026-11-01")
        done = site.scarbon("budget", "--month", "2026-10")
        assert (done.code, done.err) == (code, "")
        assert done.out.splitlines()[0].split() == [
            "account", "period", "counts", "used", "limit", "share", "by", "its", "end", "pace", "of", "coverage",
            "status",
        ]  # fmt: skip
        (line,) = done.out.splitlines()[2:]
        assert line.startswith(f"{account} ")
        assert "4.0 of 31 days" in line  # four days, the first of 25 hours
        if "will be exceeded" not in line:
            assert line.endswith(said)


def test_the_pace_fails_only_where_it_is_asked_for(site: Site, groups: dict[str, dict[str, Any]]) -> None:
    """The books hold 97 h and end three days (72 h) before the month does: the pace leads to 1 + 72/97."""
    account, kg = account_of(groups)
    declare(site, f"account: {account}, period: month, kgco2e: {kg * 1.6}")
    words = ("budget", "--month", "2026-10")
    assert site.scarbon(*words).code == 0
    done = site.scarbon(*words, "--pace")
    assert done.code == 1
    assert "will be exceeded about 2026-10-31" in done.out  # 0.6 of 97 h is 58 h behind the 28th's end
    (found,) = site.scarbon(*words, "--format", "json").json["budgets"]
    assert found["expected"] == pytest.approx(kg * 1000 * (1 + 72 / 97), rel=1e-9)
    assert (found["status"], found["will_pass"], found["passed_on"]) == ("within", True, "2026-10-31")


def test_json_is_in_base_units(site: Site, groups: dict[str, dict[str, Any]]) -> None:
    account, _ = account_of(groups)
    declare(site, f"account: {account}, period: year, kwh: 5000", f"account: {account}, period: month, kwh: 1")
    document = site.scarbon("budget", "--year", "2026", "--format", "json").json
    assert document["meta"]["site"] == "Test site"
    (found,) = document["budgets"]
    assert found["used"] == pytest.approx(groups[account]["facility_energy_j"], rel=1e-9)
    assert found["limit"] == 5000 * 3.6e6
    assert found["share"] == pytest.approx(found["used"] / found["limit"], rel=1e-12)
    assert (found["account"], found["accounts"], found["cluster"]) == (account, [account], None)
    assert (found["period"], found["first_day"], found["last_day"]) == ("2026", "2026-01-01", "2026-12-31")
    assert found["booked_s"] == 97 * 3600
    assert found["measure"] == "facility_energy_j"


def test_without_budgets_it_says_so_and_nothing_is_past(month: Site) -> None:
    done = month.scarbon("budget")
    assert (done.code, done.out) == (0, "")
    assert done.err == "scarbon: no budget is declared for what was asked\n"
    assert month.scarbon("budget", "--format", "json").json["budgets"] == []


def test_an_account_nobody_knows_is_named_with_the_near_one(site: Site, groups: dict[str, dict[str, Any]]) -> None:
    account, _ = account_of(groups)
    declare(site, f"account: {account}, period: month, kwh: 5")
    line = site.scarbon("budget", "-A", f"{account}x").refused(2)
    assert line == f"scarbon: the books know no account '{account}x'; did you mean {account}?"
    other = max(groups)
    done = site.scarbon("budget", "-A", other)
    assert (done.code, done.out) == (0, "")


def test_a_budget_of_an_account_nobody_knows_is_told(site: Site, groups: dict[str, dict[str, Any]]) -> None:
    account, _ = account_of(groups)
    declare(site, f"account: {account}x, period: month, kwh: 5")
    done = site.good("budget", "--month", "2026-10")
    assert done.err == f"note: the books know no account '{account}x', which has a budget; did you mean {account}?\n"

    said = site.scarbon("doctor").out
    assert f"warn  budgets: the books know no account '{account}x'; did you mean '{account}'?" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--month", "october"], "cannot read the month 'october'; write for example 2026-10, this or last"),
        (["--month", "2026-13"], "cannot read the month '2026-13'; write for example 2026-10, this or last"),
        (["--month", "9998-01"], "9998-01 lies in the future; name a month that has begun"),
        (["--year", "26"], "cannot read the year '26'; write for example 2026, this or last"),
        (["--year", "9998"], "9998 lies in the future; name a year that has begun"),
    ],
)
def test_a_period_that_cannot_be_meant(month: Site, words: list[str], said: str) -> None:
    assert month.scarbon("budget", *words).refused(2) == f"scarbon: {said}"


def test_an_unknown_factor_is_no_all_clear(site: Site, groups: dict[str, dict[str, Any]]) -> None:
    """This site states no market-based figures any more: what was booked before has them, and is asked for here."""
    account, _ = account_of(groups)
    site.ledger.unlink()
    site.change("  market: {factor_g_per_kwh: 12, coverage: 0.8, residual_mix_g_per_kwh: 60}\n", "")
    site.collect()
    declare(site, f"account: {account}, period: month, kgco2e: 5000, basis: market")
    done = site.scarbon("budget", "--month", "2026-10")
    assert done.code == 1
    assert "unknown: a factor is missing" in done.out


# --- below the table of jobs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def at_the_end_of_october(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = datetime(2026, 10, 31, 12, tzinfo=UTC).timestamp()
    monkeypatch.setattr(time, "time", lambda: now_s)


def list_jobs(site: Site, *words: str) -> str:
    """What is said on stderr of all jobs of the month."""
    done = site.good("jobs", "-a", "-S", "2026-10-01", *words)
    assert "budget of" not in done.out
    return "\n".join(line for line in done.err.splitlines() if not line.startswith("note: gamma is accounted"))


@pytest.mark.usefixtures("at_the_end_of_october")
def test_a_person_sees_the_budgets_of_the_listed_jobs(
    site: Site, groups: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.site.io.StringIO", Terminal)
    account, kg = account_of(groups)
    other = max(groups)
    assert other != account
    declare(site, f"account: {account}, period: month, kgco2e: {kg / 2}", "account: elsewhere, period: month, kwh: 5")
    said = list_jobs(site)
    assert said.startswith(f"budget of {account}, 2026-10: ")
    assert " CO2e (200%), at this pace " in said
    assert said.endswith(": exceeded")
    assert list_jobs(site, "-A", other) == ""
    for form in (["-P"], ["-p"], ["-n"], ["--json"]):
        assert list_jobs(site, *form) == "", form


def test_budgets_cost_nothing_where_none_is_declared_or_nobody_looks(
    site: Site, month: Site, groups: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(*_: object) -> list[str]:
        raise AssertionError("the budgets were looked at")

    monkeypatch.setattr("scarbon.budgets.lines_for", looked)
    declare(site, f"account: {account_of(groups)[0]}, period: month, kwh: 5")
    list_jobs(site)  # no terminal
    monkeypatch.setattr("tests.site.io.StringIO", Terminal)
    list_jobs(month)
    with pytest.raises(AssertionError, match="looked at"):
        list_jobs(site)
