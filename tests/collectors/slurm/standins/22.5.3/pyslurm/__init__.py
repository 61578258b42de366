"""A stand-in for pyslurm 22.5.3: what its `pyslurm.db.Job` has to say, and no more."""

__version__ = "22.5.3"


class Job:
    __slots__ = (
        "account", "admin_comment", "array_id", "array_task_id", "cluster", "comment", "cpus", "elapsed_time",
        "end_time", "exit_code", "extra", "id", "memory", "name", "nodelist", "num_nodes", "partition", "qos",
        "start_time", "state", "stats", "steps", "submit_time", "suspended_time", "user_id", "user_name", "wckey",
    )  # fmt: skip


class db:  # noqa: N801
    Job = Job

    class JobSearchFilter:
        pass
