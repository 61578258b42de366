"""The stand-in for dcgm-exporter, as a process of its own: its page, the traps of its mapping folder, and its truth."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from simulator import exporter as exporter_module
from simulator.exporter import Exporter, as_driver_shows
from simulator.live import LiveLoad, LiveNode
from simulator.truth import read_exporter_truth

CHECKOUT = Path(__file__).resolve().parents[2]
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
POWER = "DCGM_FI_DEV_POWER_USAGE"
ACTIVITY = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"


@dataclass
class Running:
    """An exporter that runs, and its folders."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def mapping(self) -> Path:
        return self.folder / "mapping"

    @property
    def truth(self) -> Path:
        return self.folder / "truth.jsonl"

    def get(self, path: str = "/metrics") -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def page(self) -> str:
        status, page = self.get()
        assert status == 200, page
        return page

    def samples(self, family: str, index: int) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of a GPU, by Prometheus's own parser."""
        return [
            (sample.labels, sample.value)
            for metric in text_string_to_metric_families(self.page())
            for sample in metric.samples
            # This parser calls every counter `…_total`.
            if sample.name.removesuffix("_total") == family and sample.labels["gpu"] == str(index)
        ]

    def power_w(self, index: int) -> float:
        return self.samples(POWER, index)[0][1]

    def load(self, job_id: int, minors: str, seconds: float, power_w: float, **more: str) -> subprocess.Popen[bytes]:
        """Start a load as a job's process would."""
        env = {
            "SLURMD_NODENAME": "n1",
            "SLURM_JOB_ID": str(job_id),
            "CUDA_VISIBLE_DEVICES": minors,
            "SCARBON_SIM_LOAD_DIR": str(self.folder / "load"),
            **more,
        }
        script = CHECKOUT / "simulator" / "load.py"
        words = [sys.executable, str(script), "--seconds", str(seconds), "--power-w", str(power_w)]
        return subprocess.Popen(words, env=env, cwd=self.folder)


def start(folder: Path, *options: str) -> Running:
    (folder / "mapping").mkdir()
    port_file = folder / "port"
    folders = {"--mapping-dir": "mapping", "--load-dir": "load", "--truth": "truth.jsonl", "--nvidia-proc": "proc"}
    words = ["--node", "n1", "--port", "0", "--port-file", str(port_file), "--collect-interval-ms", "20", *options]
    words += [word for option, name in folders.items() for word in (option, str(folder / name))]
    process = subprocess.Popen([sys.executable, "-m", "simulator.exporter", *words], cwd=CHECKOUT)
    wait_for(port_file.exists)
    return Running(process, int(port_file.read_text()), folder)


def stop(running: Running) -> int:
    running.process.terminate()
    return running.process.wait(timeout=20)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is so; the test fails when it is not within 20 s."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # GPU 3 is cut up; the minors run against DCGM's order.
    running = start(tmp_path_factory.mktemp("exporter"), "--minors", "3,2,1,0", "--mig", "3=3g.20gb,2g.10gb")
    yield running
    stop(running)


@pytest.fixture
def exporter(shared: Running) -> Iterator[Running]:
    """The shared exporter, with an empty mapping folder."""
    yield shared
    for path in shared.mapping.iterdir():
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """An exporter of the test's own, which may be stopped."""
    running = start(tmp_path)
    yield running
    stop(running)


def jobs_of(running: Running, index: int, family: str = ENERGY) -> list[str | None]:
    """The label `hpc_job` of each series of a GPU; None for a series without it."""
    return [labels.get("hpc_job") for labels, _ in running.samples(family, index)]


# --- the page


def test_the_page_has_the_real_labels(exporter: Running) -> None:
    (exporter.mapping / "0").write_text("42\n")
    ((labels, _),) = exporter.samples(POWER, 0)
    assert labels.pop("UUID").startswith("GPU-")
    assert labels == {
        "gpu": "0",
        "pci_bus_id": "00000000:07:00.0",
        "device": "nvidia0",
        "modelName": "NVIDIA A100-SXM4-80GB",
        "Hostname": "n1",
        "hpc_job": "42",
    }


def test_the_counter_is_in_whole_millijoules_and_only_rises(exporter: Running) -> None:
    line = next(line for line in exporter.page().splitlines() if line.startswith(ENERGY))
    assert line.rpartition(" ")[2].isdigit()
    assert f"# TYPE {ENERGY} counter" in exporter.page()
    before = exporter.samples(ENERGY, 0)[0][1]
    wait_for(lambda: exporter.samples(ENERGY, 0)[0][1] > before)


def test_other_pages_are_not_found(exporter: Running) -> None:
    assert exporter.get("/else")[0] == 404


def test_no_hostname(tmp_path: Path) -> None:
    running = start(tmp_path, "--no-hostname")
    try:
        assert "Hostname" not in running.page()
    finally:
        assert stop(running) == 0


# --- the mapping folder


def test_no_file_and_an_empty_file_give_no_label(exporter: Running) -> None:
    assert jobs_of(exporter, 0) == [None]
    (exporter.mapping / "0").touch()
    assert jobs_of(exporter, 0) == [None]


def test_the_folder_is_read_again_on_every_scrape(exporter: Running) -> None:
    for job in ("7", "8", "9"):
        (exporter.mapping / "1").write_text(f"{job}\n")
        assert jobs_of(exporter, 1) == [job]
        assert jobs_of(exporter, 0) == [None]


def test_the_last_newline_may_be_missing(exporter: Running) -> None:
    (exporter.mapping / "0").write_text("7\n8")
    assert jobs_of(exporter, 0) == ["7", "8"]


@pytest.mark.parametrize("name", ["GPU-1f2e", "0.new", ".0", "a", "0 ", "-1", "0.1.2", "1.", "+0"])
def test_names_that_are_no_gpu_are_ignored(exporter: Running, name: str) -> None:
    (exporter.mapping / name).write_text("42\n")
    assert "hpc_job" not in exporter.page()
    (exporter.mapping / name).unlink()
    (exporter.mapping / name).symlink_to("gone")
    assert exporter.get()[0] == 200  # it was not even opened


def test_a_folder_with_a_gpus_name_is_ignored(exporter: Running) -> None:
    (exporter.mapping / "0").mkdir()
    assert jobs_of(exporter, 0) == [None]


def test_lines_repeat_each_series_with_the_full_value(exporter: Running) -> None:
    (exporter.mapping / "0").write_text("7\n8\n9\n")
    for family in (ENERGY, POWER):
        shown = exporter.samples(family, 0)
        assert [labels["hpc_job"] for labels, _ in shown] == ["7", "8", "9"]
        assert len({value for _, value in shown}) == 1


def test_lines_are_taken_as_they_stand(exporter: Running) -> None:
    (exporter.mapping / "0").write_text(" 7 \n8 bob\n")
    assert jobs_of(exporter, 0) == [" 7 ", "8 bob"]


def test_a_carriage_return_at_the_end_of_a_line_is_cut(exporter: Running) -> None:
    (exporter.mapping / "0").write_text("7\r\n")
    assert jobs_of(exporter, 0) == ["7"]


def test_a_blank_line_is_a_job_without_a_name(exporter: Running) -> None:
    (exporter.mapping / "0").write_text("\n7\n")
    assert [line.count('hpc_job=""') for line in exporter.page().splitlines() if 'gpu="0"' in line] == [1, 0, 1, 0]


def test_a_quote_breaks_the_page(exporter: Running) -> None:
    (exporter.mapping / "0").write_text('4"2\n')
    status, page = exporter.get()
    assert status == 200
    assert 'hpc_job="4"2"' in page
    with pytest.raises(ValueError):
        list(text_string_to_metric_families(page))


def test_a_file_that_goes_between_the_listing_and_the_open_fails_the_page(exporter: Running) -> None:
    (exporter.mapping / "1").symlink_to("gone")  # listed, and not there when it is opened
    status, page = exporter.get()
    assert status == 500
    assert POWER not in page
    (exporter.mapping / "1").unlink()
    assert exporter.get()[0] == 200


def test_a_file_that_cannot_be_read_fails_the_page(exporter: Running) -> None:
    (exporter.mapping / "9").symlink_to("9")  # also for root, and though there is no GPU 9
    assert exporter.get()[0] == 500


def test_a_link_to_a_folder_fails_the_page(exporter: Running) -> None:
    (exporter.mapping / "0").symlink_to(exporter.folder)
    assert exporter.get()[0] == 500


def test_a_line_too_long_fails_the_page(exporter: Running) -> None:
    (exporter.mapping / "0").write_text("7" * 65536)
    assert exporter.get()[0] == 500


def test_a_job_named_twice_fails_the_page(exporter: Running) -> None:
    (exporter.mapping / "0").write_text("7\n8\n7\n")
    assert exporter.get()[0] == 500


def test_a_folder_that_is_not_there_gives_no_labels(own: Running) -> None:
    own.mapping.rmdir()
    assert "hpc_job" not in own.page()


def test_the_folder_is_read_for_each_group_of_entities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = exporter_module.make_node(exporter_module.random.Random(0), "n1", 1)
    with (tmp_path / "truth").open("w") as truth:
        made = Exporter(LiveNode(node, time.time(), truth), tmp_path, tmp_path, 1.0, True)
    # The file goes between the two readings of one scrape.
    answers = iter([{"0": ["7"]}, FileNotFoundError("0")])

    def read_mapping(_: Path) -> dict[str, list[str]]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(exporter_module, "read_mapping", read_mapping)
    with pytest.raises(exporter_module.PageError):
        made.page()


# --- MIG


def test_every_instance_repeats_the_whole_gpu_and_the_gpu_itself_is_not_exported(exporter: Running) -> None:
    for family in (ENERGY, POWER):
        first, second = exporter.samples(family, 3)
        assert first[1] == second[1]
        shown = [(labels["GPU_I_PROFILE"], labels["GPU_I_ID"]) for labels, _ in (first, second)]
        assert shown == [("3g.20gb", "1"), ("2g.10gb", "2")]
        assert first[0]["UUID"] == second[0]["UUID"]


def test_an_instances_job_is_in_a_file_of_its_own(exporter: Running) -> None:
    (exporter.mapping / "3.2").write_text("7\n")
    (exporter.mapping / "3").write_text("8\n")  # the whole GPU's file says nothing of its instances
    assert jobs_of(exporter, 3) == [None, "7"]


def test_only_instances_show_activity(exporter: Running) -> None:
    assert exporter.samples(ACTIVITY, 0) == []
    assert [value for _, value in exporter.samples(ACTIVITY, 3)] == [0.0, 0.0]


# --- loads


def test_a_load_raises_the_power_of_the_minor_that_the_job_holds(exporter: Running) -> None:
    idle_w = [exporter.power_w(index) for index in range(4)]
    assert all(40 < power_w < 70 for power_w in idle_w)
    with exporter.load(42, "3,2", 60, 300.0) as load:
        wait_for(lambda: exporter.power_w(0) == exporter.power_w(1) == 300.0)  # minors 3 and 2
        assert exporter.power_w(2) == idle_w[2]
        load.terminate()
        assert load.wait() == 128 + signal.SIGTERM
    wait_for(lambda: [exporter.power_w(index) for index in (0, 1)] == idle_w[:2])
    assert not list((exporter.folder / "load").iterdir())


def test_a_load_that_is_killed_draws_no_more_power(exporter: Running) -> None:
    idle_w = exporter.power_w(0)
    with exporter.load(42, "3", 60, 300.0) as load:
        wait_for(lambda: exporter.power_w(0) == 300.0)
        load.kill()
        wait_for(lambda: exporter.power_w(0) == idle_w)  # a zombie, and its file still there
        assert list((exporter.folder / "load").iterdir())


def test_a_load_of_another_node_is_not_ours(exporter: Running) -> None:
    with exporter.load(42, "3", 60, 300.0, SLURMD_NODENAME="n10") as load:
        wait_for(lambda: list((exporter.folder / "load").glob("n10.*")))
        before = exporter.samples(ENERGY, 0)[0][1]
        wait_for(lambda: exporter.samples(ENERGY, 0)[0][1] > before)
        assert exporter.power_w(0) < 70
        load.terminate()


def test_an_instances_load_shows_in_its_activity(exporter: Running) -> None:
    node_idle_w = exporter.power_w(3)
    script = [sys.executable, "-m", "simulator.load", "--seconds", "60", "--power-w", "100", "--gi-id", "1"]
    env = {
        **os.environ,
        "SLURMD_NODENAME": "n1",
        "SLURM_JOB_ID": "5",
        "SLURM_JOB_GPUS": "0",
        "SCARBON_SIM_LOAD_DIR": str(exporter.folder / "load"),
    }
    env.pop("CUDA_VISIBLE_DEVICES", None)
    with subprocess.Popen(script, env=env, cwd=CHECKOUT) as load:
        # 100 W with 3 of 7 slices of the idle level in them.
        above_w = 100 - node_idle_w * 3 / 7
        wait_for(lambda: exporter.power_w(3) == pytest.approx(node_idle_w + above_w, abs=1e-3))
        full_w = (400 - node_idle_w) * 3 / 7
        wait_for(lambda: exporter.samples(ACTIVITY, 3)[0][1] == pytest.approx(above_w / full_w, rel=1e-3))
        assert exporter.samples(ACTIVITY, 3)[1][1] == 0
        load.terminate()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"CUDA_VISIBLE_DEVICES": ""}, "the job has no GPU"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1f2e"}, "not device minors: MIG-1f2e"),
        ({"SLURM_JOB_ID": ""}, "this is no Slurm job"),
        ({"SCARBON_SIM_LOAD_DIR": ""}, "no folder"),
    ],
)
def test_a_load_that_cannot_be_says_why(tmp_path: Path, change: dict[str, str], says: str) -> None:
    env = {"SLURMD_NODENAME": "n1", "SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "0"}
    words = [sys.executable, str(CHECKOUT / "simulator" / "load.py"), "--seconds", "1", "--power-w", "100"]
    env = {**env, "SCARBON_SIM_LOAD_DIR": str(tmp_path), **change}
    failed = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert says in failed.stderr
    assert "Traceback" not in failed.stderr


# --- the driver's pages


def test_the_drivers_pages_are_written(exporter: Running) -> None:
    shown = {}
    for page in (exporter.folder / "proc").glob("*/information"):
        facts = {
            name: value.strip() for name, _, value in (line.partition(":") for line in page.read_text().splitlines())
        }
        assert facts["Bus Location"] == page.parent.name
        shown[facts["Device Minor"]] = facts["GPU UUID"]
    assert [shown[minor] for minor in "3210"] == [exporter.samples(ENERGY, index)[0][0]["UUID"] for index in range(4)]


def test_pages_that_are_there_say_which_gpus_there_are(tmp_path: Path) -> None:
    make_node, seeded = exporter_module.make_node, exporter_module.random.Random
    written = as_driver_shows(make_node(seeded(1), "n1", 3, minors=(1, 2, 0)), tmp_path)
    read = as_driver_shows(make_node(seeded(2), "n1", 3), tmp_path)
    for one, other in zip(written.gpus, read.gpus, strict=True):
        assert (one.uuid, one.minor, one.index, one.pci_bus_id) == (
            other.uuid,
            other.minor,
            other.index,
            other.pci_bus_id,
        )
    with pytest.raises(ValueError, match="3 GPUs have a page, and the node has 2"):
        as_driver_shows(make_node(seeded(2), "n1", 2), tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mig", "0=8g.80gb"], "no such MIG profile: 8g.80gb"),
        (["--truth", "/nowhere/truth"], "No such file or directory: '/nowhere/truth'"),
        (["--minors", "0,x"], "argument --minors: invalid minor_list value: '0,x'"),
    ],
)
def test_an_exporter_that_cannot_run_says_why(tmp_path: Path, options: list[str], says: str) -> None:
    words = ["--node", "n1", "--port", "0", "--load-dir", str(tmp_path), "--truth", str(tmp_path / "truth"), *options]
    failed = subprocess.run(
        [sys.executable, "-m", "simulator.exporter", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert failed.returncode in (1, 2)
    assert says in failed.stderr
    assert "Traceback" not in failed.stderr


# --- the truth


def test_a_loads_energy_is_the_integral_of_its_power() -> None:
    load = LiveLoad("1", None, above_idle_w=240.0, ramp_s=2.0, since_s=100.0)
    assert load.energy_j(99.0) == 0
    assert load.energy_j(101.0) == 60  # half way up the ramp: 1 s of 60 W in the mean
    assert load.energy_j(102.0) == 240
    assert load.energy_j(105.0) == 240 + 3 * 240
    assert (load.power_w(101.0), load.power_w(103.0)) == (120, 240)
    assert LiveLoad("1", None, 240.0, 0.0, 100.0).energy_j(101.0) == 240


def test_the_truth_knows_who_held_and_who_drew(own: Running) -> None:
    (own.mapping / "1").write_text("42\n")
    with own.load(42, "1", 0.6, 300.0):
        wait_for(lambda: own.power_w(1) == 300.0)
    wait_for(lambda: own.power_w(1) < 70)
    (own.mapping / ".1.new").touch()
    (own.mapping / ".1.new").rename(own.mapping / "1")
    with own.load(43, "2", 60, 200.0) as wrong:  # holds nothing, and draws
        wait_for(lambda: own.power_w(2) == 200.0)
        time.sleep(0.3)
        wrong.terminate()
    wait_for(lambda: own.power_w(2) < 70)
    assert stop(own) == 0

    truth = read_exporter_truth(own.truth)
    (held,) = truth.mapped(42)
    (drew,) = truth.loaded("42")
    assert held.uuid == drew.uuid
    assert held.start_s < drew.start_s < drew.end_s < held.end_s
    idle_w = truth.devices[held.uuid].idle_w
    assert drew.energy_j == pytest.approx(300.0 * (drew.end_s - drew.start_s), rel=1e-9)
    held_only_s = (held.end_s - held.start_s) - (drew.end_s - drew.start_s)
    assert truth.mapped_j(42) == pytest.approx(drew.energy_j + idle_w * held_only_s, rel=1e-9)
    assert truth.loaded_j(42) == drew.energy_j
    (mismatch,) = truth.mismatches()
    assert (mismatch.job_id, truth.devices[mismatch.uuid].index) == ("43", 2)


def test_the_truth_is_what_the_meter_showed(own: Running) -> None:
    with own.load(42, "0", 60, 400.0) as load:
        wait_for(lambda: own.power_w(0) == 400.0)
        load.terminate()
    wait_for(lambda: own.power_w(0) < 70)
    assert stop(own) == 0
    truth = read_exporter_truth(own.truth)
    # The file has the meter's own sum at each change; the reader's comes from idle level, loads and times alone.
    rows = [json.loads(line) for line in own.truth.read_text().splitlines()]
    checked = [row for row in rows if row["event"] in ("load", "unload")]
    assert len(checked) == 2
    for row in checked:
        assert truth.devices[row["uuid"]].energy_j(row["time"]) == pytest.approx(row["energy_j"], rel=1e-9)


def test_the_truth_can_be_read_while_it_is_written(own: Running) -> None:
    (own.mapping / "0").write_text("42\n")
    wait_for(lambda: '"mapping"' in own.truth.read_text())
    count = own.truth.read_text().count('"seen"')
    wait_for(lambda: own.truth.read_text().count('"seen"') > count)
    with own.truth.open("a") as file:
        file.write('{"event": "mapp')  # torn
    (held,) = read_exporter_truth(own.truth).mapped(42)
    device = read_exporter_truth(own.truth).devices[held.uuid]
    assert held.end_s == device.end_s
    with pytest.raises(ValueError, match="nothing is known"):
        device.energy_j(device.end_s + 1)


def test_a_start_imports_nothing_heavy() -> None:
    for module in ("simulator.exporter", "simulator.load"):
        listed = subprocess.run(
            [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert not {"numpy", "ClusterShell", "prometheus_client"} & set(listed.stdout.split())
