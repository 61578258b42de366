"""`scarbon collect --poll` and `--watch`, and what `scarbon doctor` says of the sources of holders."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.site import environment, scarbon, start

CONFIG = """\
site: {{name: Test site, timezone: UTC}}
ledger: sqlite:///ledger.db
clusters:
  alpha:
    jobs: {{source: sacct, sacct: bin/sacct}}
    gpu:
      openmetrics: {{path: dcgm.om}}
      journal: journal
      holders: [journal, {holder}]
pue: 1.2
grid: {{zone: FRA, location: [{{source: static}}]}}
"""

SCONTROL = """\
#!/bin/sh
echo "$*" >>{folder}/asked
[ -e {folder}/down ] && {{ echo "Unable to contact slurm controller" >&2; exit 1; }}
case "$*" in
*"show config"*) echo "AccountingStoreFlags    = $(cat {folder}/flags)" ;;
*) echo "JobId=42 JobName=a"
   echo "   Requeue=1 Restarts=0 BatchFlag=1"
   echo "   StartTime=1790000000 EndTime=Unknown"
   echo "     Nodes=n1 CPU_IDs=0 Mem=100 GRES=gpu:a100:2(IDX:0-1)" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A site whose Slurm has one running job, and a journal without lines."""
    (tmp_path / "site.yaml").write_text(CONFIG.format(holder="gres_index"))
    (tmp_path / "dcgm.om").write_text("# EOF\n")
    (tmp_path / "journal").mkdir()
    (tmp_path / "flags").write_text("(null)")
    (tmp_path / "bin").mkdir()
    for name, text in (("scontrol", SCONTROL.format(folder=tmp_path)), ("sacct", "#!/bin/sh\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def kept(folder: Path) -> list[dict[str, object]]:
    """What is kept of the controller's answers."""
    lines = [line for path in sorted((folder / "gres_index").glob("alpha/*")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


# --- polling


def test_polling_keeps_what_the_controller_says(folder: Path) -> None:
    done = scarbon("--config", folder / "site.yaml", "collect", "--poll")
    assert (done.code, done.out, done.err) == (0, "", "alpha: 1 holds by the controller, 1 of them new\n")
    again = scarbon("--config", folder / "site.yaml", "collect", "--poll", "-q")
    assert (again.code, again.out, again.err) == (0, "", "")
    (row,) = kept(folder)
    assert (row["job_id"], row["node"], row["indices"], row["start"]) == (42, "n1", [0, 1], 1790000000)
    assert not (folder / "ledger.db").exists()


def test_a_folder_of_the_sites_choice(folder: Path) -> None:
    config = folder / "site.yaml"
    config.write_text(
        config.read_text().replace("      journal: journal", "      journal: journal\n      gres_index: seen")
    )
    assert scarbon("--config", config, "collect", "--poll", "-q").code == 0
    assert len(list((folder / "seen").iterdir())) == 1


def test_a_controller_that_is_down(folder: Path) -> None:
    (folder / "down").touch()
    line = scarbon("--config", folder / "site.yaml", "collect", "--poll").refused()
    assert line.startswith(
        f"scarbon: alpha: {folder}/bin/scontrol failed (exit 1): Unable to contact slurm controller; "
    )


@pytest.mark.parametrize("words", [["--poll", "--watch"], ["--poll", "-S", "now"], ["--watch", "5", "-E", "now"]])
def test_polling_accounts_nothing(folder: Path, words: list[str]) -> None:
    line = scarbon("--config", folder / "site.yaml", "collect", *words).refused(2)
    assert "--poll and --watch account nothing" in line


def test_there_must_be_something_to_poll(folder: Path) -> None:
    (folder / "site.yaml").write_text(CONFIG.format(holder="hpc_job"))
    for word in ("--poll", "--watch"):
        line = scarbon("--config", folder / "site.yaml", "collect", word).refused()
        assert line == "scarbon: no cluster has gres_index in gpu.holders; add it there, or do not poll"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_watching_goes_on_while_the_controller_is_down_and_ends_when_told(folder: Path, end: signal.Signals) -> None:
    (folder / "down").touch()
    with start("--config", folder / "site.yaml", "collect", "--watch", "1", "-q", env=environment()) as watch:
        asked = folder / "asked"
        deadline = time.monotonic() + 60
        while not asked.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        (folder / "down").unlink()
        while not kept(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        watch.send_signal(end)
        out, err = watch.communicate(timeout=60)
    assert (watch.returncode, out) == (0, "")
    assert len(kept(folder)) == 1
    assert [line for line in err.splitlines() if "Unable to contact slurm controller" not in line] == []
    assert "Unable to contact slurm controller" in err


# --- doctor


def doctor(folder: Path) -> list[str]:
    """What `scarbon doctor` finds, without what is well."""
    lines = scarbon("--config", folder / "site.yaml", "doctor").out.splitlines()
    return [line for line in lines if line.startswith("warn")]


def test_doctor_tells_that_the_controller_was_never_asked(folder: Path) -> None:
    told = "warn  alpha: holders by gres_index: the controller was never asked"
    assert told in doctor(folder)
    assert scarbon("--config", folder / "site.yaml", "collect", "--poll", "-q").code == 0
    assert told not in doctor(folder)


def test_doctor_counts_the_hooks_troubles_of_the_last_day(folder: Path) -> None:
    def trouble(age_s: float, message: str) -> str:
        row = {"v": 1, "event": "error", "time": time.time() - age_s, "cluster": "alpha", "job_id": 1, "node": "n7"}
        return json.dumps({**row, "message": message}) + "\n"

    lines = [trouble(90_000, "old"), trouble(7200, "disk full"), trouble(3600, "no such GPU")]
    (folder / "journal" / "n7.jsonl").write_text("".join(lines))
    assert "warn  alpha: the hooks of n7 had trouble 2 times in the last day, at last: no such GPU" in doctor(folder)


@pytest.mark.parametrize(
    ("flags", "missing"), [("(null)", True), ("job_script,job_env", True), ("job_comment,job_env", False)]
)
def test_doctor_tells_where_comments_do_not_reach_the_books(folder: Path, flags: str, missing: bool) -> None:
    (folder / "flags").write_text(flags)
    told = "warn  alpha: Slurm's accounting keeps no comments of jobs, so they have no labels"
    assert (told in doctor(folder)) is missing
