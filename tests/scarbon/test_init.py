"""`scarbon init`: what it asks, and that what it writes is read back as it was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scarbon.commands.init import _quoted
from site_config.load import load
from tests.site import Done, scarbon


@pytest.fixture(autouse=True)
def _nothing_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scarbon.commands.init._cluster_name", lambda: "cluster")
    monkeypatch.setenv("TZ", "Europe/Zurich")


def init(folder: Path, *answers: str) -> Done:
    return scarbon("init", "-o", folder / "site.yaml", stdin="".join(f"{answer}\n" for answer in answers))


def test_without_questions_it_takes_what_it_finds(tmp_path: Path) -> None:
    done = scarbon("init", "--yes", "-o", tmp_path / "site.yaml")
    assert (done.code, done.out) == (0, "")
    assert done.err == (
        "Assumed where nothing could be found out: the country, the PUE, the Prometheus; check them.\n"
        f"Wrote {tmp_path}/site.yaml. Next: scarbon --config {tmp_path}/site.yaml doctor\n"
    )
    config = load(tmp_path / "site.yaml")
    assert config.site.timezone == "Europe/Zurich"
    assert list(config.clusters) == ["cluster"]
    assert config.ledger.url == f"sqlite:///{tmp_path}/ledger.db"
    assert config.grid.zone == "CHE"


def test_the_commented_lines_can_be_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    assert scarbon("init", "--yes", "-o", path).code == 0
    text = path.read_text(encoding="utf-8")
    for key in ("  market", "budgets", "mail"):
        commented = f"{key[: len(key) - len(key.lstrip())]}# {key.lstrip()}: "
        assert text.count(commented) == 1, key
        text = text.replace(commented, f"{key}: ")
    path.write_text(text, encoding="utf-8")
    config = load(path)
    assert config.mail is not None
    assert [budget.account for budget in config.budgets] == ["phys"]
    assert config.grid.market is not None


def test_the_answers_are_in_the_file(tmp_path: Path) -> None:
    done = init(
        tmp_path, "Institut für #1: Physik", "Asia/Kathmandu", "on", "NPL", "1.35", "y", "https://prometheus.example:9090",
        "/srv/journals",
    )  # fmt: skip
    assert done.code == 0, done
    config = load(tmp_path / "site.yaml")
    assert (config.site.name, config.site.timezone) == ("Institut für #1: Physik", "Asia/Kathmandu")
    assert (config.pue, config.grid.zone) == (1.35, "NPL")
    gpu = config.clusters["on"].gpu
    assert gpu is not None
    assert gpu.prometheus is not None
    assert gpu.prometheus.url == "https://prometheus.example:9090"
    assert gpu.journal == Path("/srv/journals")


def test_a_cluster_without_gpus(tmp_path: Path) -> None:
    assert init(tmp_path, "x", "UTC", "alpha", "FRA", "1.5", "n").code == 0
    assert load(tmp_path / "site.yaml").clusters["alpha"].gpu is None


def test_a_bad_answer_is_asked_again_with_what_is_near(tmp_path: Path) -> None:
    done = init(
        tmp_path, "x", "Europe/Pari", "Europe/Paris", "my cluster", "alpha", "FRX", "FRA", "0.9", "one", "nan", "1e0",
        "n",
    )  # fmt: skip
    assert done.code == 0, done
    assert "no time zone 'Europe/Pari'; did you mean 'Europe/Paris'?" in done.err
    assert "'my cluster' is no ClusterName of Slurm's: letters, digits, -, _ and ." in done.err
    assert "no country 'FRX'" in done.err
    assert done.err.count("is no PUE: a number from 1 to 10") == 3
    config = load(tmp_path / "site.yaml")
    assert (config.site.timezone, config.pue) == ("Europe/Paris", 1.0)


def test_an_existing_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("mine\n")
    assert scarbon("init", "--yes", "-o", path).refused() == (
        f"scarbon: {path} exists already, and is left as it is; name another with -o, or say --force"
    )
    assert path.read_text() == "mine\n"
    assert scarbon("init", "--yes", "--force", "-o", path).code == 0
    assert load(path).site.timezone == "Europe/Zurich"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    line = scarbon("init", "--yes", "-o", tmp_path / "etc" / "site.yaml").refused()
    assert line == f"scarbon: the folder {tmp_path}/etc does not exist; make it: mkdir -p {tmp_path}/etc"


def test_a_zone_that_cannot_be_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scarbon.commands.init._timezone", lambda: "Mars/Olympus")
    assert "no time zone 'Mars/Olympus'" in scarbon("init", "--yes", "-o", tmp_path / "site.yaml").refused()
    assert not (tmp_path / "site.yaml").exists()


def test_nobody_is_there_to_answer(tmp_path: Path) -> None:
    done = init(tmp_path)
    assert done.code == 1
    assert done.err.splitlines()[-1] == (
        "scarbon: nobody is there to answer; say --yes to take what is found out, and the defaults"
    )
    assert not (tmp_path / "site.yaml").exists()


def test_slurm_is_asked_for_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`scontrol show config` as Slurm 22.05 prints it."""
    monkeypatch.undo()
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'CliFilterPlugins        = (null)'\necho 'ClusterName             = tux'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert scarbon("init", "--yes", "-o", tmp_path / "site.yaml").code == 0
    assert list(load(tmp_path / "site.yaml").clusters) == ["tux"]


@pytest.mark.parametrize("body", ["exit 1", "sleep 60", "echo nothing"], ids=["fails", "hangs", "says nothing"])
def test_a_slurm_that_does_not_answer_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.undo()
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\n{body}\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("scarbon.commands.init.SCONTROL_S", 0.2)
    assert scarbon("init", "--yes", "-o", tmp_path / "site.yaml").code == 0
    assert list(load(tmp_path / "site.yaml").clusters) == ["cluster"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40))
def test_any_text_is_read_back_as_it_was_typed(text: str) -> None:
    text = text.strip()
    if text:
        assert yaml.safe_load(f"{{name: {_quoted(text)}}}") == {"name": text}
        assert yaml.safe_load(f"{_quoted(text)}: 1 # comment") == {text: 1}


@pytest.mark.parametrize(
    "text", ["yes", "No", "null", "~", "1.5", "0x1F", "2026-10-01", "a: b", "a #b", "-", "- x", "é"]
)
def test_what_yaml_would_take_for_something_else_is_quoted(text: str) -> None:
    assert yaml.safe_load(f"name: {_quoted(text)}") == {"name": text}
