"""What slurm.conf must say, and the line that is missing where it does not."""

import pytest

from slurm_plugin.slurm_conf import NEEDED_LINES, SlurmConf, check, gpu_settings

GOOD = """\
PrologFlags=Alloc
Prolog=/etc/slurm/prolog.d/*
Epilog=/etc/slurm/epilog.d/*
PrologEpilogTimeout=60
AccountingStoreFlags=job_script,Job_Comment
"""


@pytest.fixture
def conf(tmp_path):
    def make(text, **others):
        for name, content in others.items():
            (tmp_path / name.replace("_", ".")).write_text(content)
        (tmp_path / "slurm.conf").write_text(text)
        return SlurmConf(tmp_path / "slurm.conf")

    return make


def findings(conf, level):
    return [(finding.message, finding.line) for finding in check(conf, 5.0) if finding.level == level]


def lines(conf, level="problem"):
    return [line for _, line in findings(conf, level)]


def test_a_configuration_that_is_right(conf):
    assert findings(conf(GOOD), "problem") == []
    assert findings(conf(GOOD), "advice") == []


def test_an_empty_configuration_is_told_every_line(conf):
    assert lines(conf("")) == ["PrologFlags=Alloc", "Prolog=/etc/slurm/prolog.d/*", "Epilog=/etc/slurm/epilog.d/*"]
    assert lines(conf(""), "advice") == ["PrologEpilogTimeout=60", "AccountingStoreFlags=job_comment"]
    assert {*lines(conf("")), *lines(conf(""), "advice")} == set(NEEDED_LINES)


@pytest.mark.parametrize("flag", ["Alloc", "alloc", "Contain", "X11", "DeferBatch", "NoHold", "ForceRequeueOnFail"])
def test_flags_that_bring_alloc(conf, flag):
    assert lines(conf(GOOD.replace("=Alloc", f"=Serial,{flag}"))) == []


@pytest.mark.parametrize(
    ("value", "line"),
    [("Serial", "PrologFlags=Serial,Alloc"), ("Parallel,RunInJob", "PrologFlags=Parallel,RunInJob,Alloc")],
)
def test_flags_that_do_not_are_kept_in_the_line(conf, value, line):
    assert lines(conf(GOOD.replace("PrologFlags=Alloc", f"PrologFlags={value}"))) == [line]


@pytest.mark.parametrize(
    "value",
    ["/etc/slurm/prolog.d/*", "/etc/slurm/prolog.d/50-scarbon", "/etc/slurm/*.d/[0-9]*", '"/etc/slurm/prolog.d/*"'],
)
def test_prologs_that_run_ours(conf, value):
    assert lines(conf(GOOD.replace("Prolog=/etc/slurm/prolog.d/*", f"Prolog={value}"))) == []


@pytest.mark.parametrize("value", ["/usr/local/sbin/prolog", "/etc/slurm/*", "/etc/slurm/prolog.d/*.sh"])
def test_prologs_that_do_not_run_ours(conf, value):
    made = conf(GOOD.replace("Prolog=/etc/slurm/prolog.d/*", f"Prolog={value}"))
    assert lines(made) == ["Prolog=/etc/slurm/prolog.d/*"]
    assert f"Prolog={value} does not run" in findings(made, "problem")[0][0]


def test_several_prologs(conf):
    assert lines(conf(GOOD + "Prolog=/usr/local/sbin/prolog\n")) == []


def test_a_timeout_that_is_shorter_than_the_hook_may_take(conf):
    assert lines(conf(GOOD.replace("Timeout=60", "Timeout=7"))) == ["PrologEpilogTimeout=60"]
    assert lines(conf(GOOD.replace("Timeout=60", "Timeout=8"))) == []
    assert lines(conf(GOOD + "EpilogTimeout=2\n")) == ["EpilogTimeout=60"]
    assert lines(conf(GOOD.replace("Timeout=60", "Timeout=65534")), "advice") == ["PrologEpilogTimeout=60"]


def test_comments_that_are_not_kept(conf):
    made = conf(GOOD.replace("job_script,Job_Comment", "job_script,job_env"))
    assert lines(made, "advice") == ["AccountingStoreFlags=job_script,job_env,job_comment"]
    assert lines(made) == []  # the hooks run all the same


def test_case_comments_continued_lines_includes_and_other_lines(conf):
    made = conf(
        "prologflags=Serial, # Alloc\nPROLOGFLAGS = Serial,\\\nContain\ninclude site.conf\nNodeName=n1 Prolog=/x\n",
        site_conf="Prolog=/etc/slurm/prolog.d/*\nEpilog=/etc/slurm/epilog.d/*\n",
    )
    assert lines(made) == []


def test_an_include_that_is_not_here_is_told(conf):
    assert "gone.conf: there is no such file here" in findings(conf(GOOD + "Include gone.conf\n"), "advice")[0][0]


def test_a_slurmd_that_is_not_root_is_told(conf):
    assert "SlurmdUser=slurm" in findings(conf(GOOD + "SlurmdUser=slurm(64030)\n"), "advice")[0][0]
    assert findings(conf(GOOD + "SlurmdUser=root\n"), "advice") == []


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("GresTypes=gpu", "no"),
        ("GresTypes=gpu,nic", "no"),
        ("GresTypes=gpu,shard", None),
        ("GresTypes=gpu,mps", None),
        ("GresTypes=gpu\nPreemptMode=SUSPEND,GANG", None),
        ("GresTypes=nic", None),
        ("", None),
    ],
)
def test_whether_gpus_can_be_shared(conf, text, shared):
    assert gpu_settings(conf(text))[0].get("shared_gpus") == shared


@pytest.mark.parametrize(
    ("gres", "order"),
    [("AutoDetect=nvml\n", "pci"), ("Name=gpu File=/dev/nvidia[0-3]\n", None), ("AutoDetect=off\n", None)],
)
def test_what_a_gpu_index_is(conf, gres, order):
    assert gpu_settings(conf("GresTypes=gpu", gres_conf=gres))[0].get("gres_order") == order
