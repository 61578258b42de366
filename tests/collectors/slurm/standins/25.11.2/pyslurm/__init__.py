"""A stand-in for pyslurm 25.11.2: the attributes of its `pyslurm.db`, and what it does to slurmdbd's answers.

One record for each job id (the newest), no duplicates, None for task 0, the uid in the place of an unknown user, and
totals that count records which were dropped for having the same id.
"""

from types import SimpleNamespace

__version__ = "25.11.2"


class PyslurmError(Exception):
    pass


class RPCError(PyslurmError):
    pass


class TrackableResource:
    def __init__(self, count):
        self.count = count


class TrackableResources:
    def __init__(self, pairs):
        self.cpu = self.mem = self.node = self.billing = self.energy = None
        self.gres = {}
        for name, count in pairs:
            if name.startswith("gres/"):
                self.gres[name.removeprefix("gres/")] = TrackableResource(count)
            else:
                setattr(self, name, TrackableResource(count))


class JobFilter:
    ids = start_time = end_time = clusters = None

    def __init__(self, **conditions):
        for name, value in conditions.items():
            if name not in ("ids", "start_time", "end_time", "clusters", "users", "accounts"):
                raise AttributeError(f"JobFilter has no {name}")
            setattr(self, name, value)


def _or_none(value):
    return value or None


class Job:
    def __init__(self, record):
        self._record = record

    def to_dict(self, recursive=False):
        return {"id": self.id, "state": self.state, "submit_time": self.submit_time}

    id = property(lambda self: self._record.id)
    cluster = property(lambda self: self._record.cluster)
    account = property(lambda self: _or_none(self._record.account))
    partition = property(lambda self: _or_none(self._record.partition))
    qos = property(lambda self: _or_none(self._record.qos))
    wckey = property(lambda self: _or_none(self._record.wckey))
    name = property(lambda self: _or_none(self._record.name))
    comment = property(lambda self: _or_none(self._record.comment))
    admin_comment = extra = property(lambda self: None)
    nodelist = property(lambda self: self._record.nodes)
    num_nodes = property(lambda self: dict(self._record.tres).get("node", 1))
    user_id = property(lambda self: self._record.uid)
    user_name = property(lambda self: self._record.user or str(self._record.uid))
    state = property(lambda self: self._record.state)
    exit_code = property(lambda self: self._record.exit[0])
    exit_code_signal = property(lambda self: self._record.exit[1])
    suspended_time = property(lambda self: _or_none(self._record.suspended))
    elapsed_time = property(lambda self: None)
    array_id = property(lambda self: _or_none(self._record.array[0]))
    array_task_id = property(lambda self: _or_none(self._record.array[1]))
    array_tasks_waiting = property(lambda self: _or_none(self._record.array[2]))
    array_tasks_parallel = property(lambda self: _or_none(self._record.array[3]))
    heterogeneous_id = property(lambda self: self._record.het[0])
    heterogeneous_offset = property(lambda self: self._record.het[1] or 0)
    requeue_count = property(lambda self: self._record.restarts)
    lineage = property(lambda self: None)
    memory = property(lambda self: dict(self._record.tres).get("mem", 100))
    cpus = property(lambda self: dict(self._record.tres).get("cpu", 1))
    stats = property(lambda self: SimpleNamespace(consumed_energy=0))
    steps = property(lambda self: {})
    requested_tres = property(lambda self: None)
    gres = property(lambda self: self.allocated_tres.gres if self.allocated_tres else {})
    gpus = property(lambda self: {name: entry for name, entry in self.gres.items() if name.startswith("gpu")})

    @property
    def allocated_tres(self):
        print("pyslurm 25.11.2 prints the resources that it does not know")
        return TrackableResources(self._record.tres) if self._record.tres else None

    @property
    def submit_time(self):
        from tests.collectors.slurm import world

        return world.submit_of(self._record)

    @property
    def start_time(self):
        from tests.collectors.slurm import world

        start = world.start_of(self._record)
        return None if start in (0, world.NO_VAL) else start

    @property
    def end_time(self):
        from tests.collectors.slurm import world

        return _or_none(world.at(self._record.end))


class Jobs(dict):
    cpus = nodes = memory = 0

    @staticmethod
    def load(db_filter=None, db_connection=None):
        from tests.collectors.slurm import world

        if world.PYSLURM.get("error"):
            raise RPCError(world.PYSLURM["error"])
        world.PYSLURM.setdefault("calls", []).append(db_filter)
        found = []
        for record in world.PYSLURM.get("records", world.RECORDS):
            end = world.at(record.end)
            if record.cluster not in db_filter.clusters or (end and end < db_filter.start_time):
                continue
            if db_filter.ids is not None:
                if record.id in db_filter.ids and world.submit_of(record) < db_filter.end_time:
                    found.append(record)
            elif world.matches(record, db_filter.start_time, db_filter.end_time):
                found.append(record)
        newest = {}
        for record in found:
            if record.id not in newest or record.submit > newest[record.id].submit:
                newest[record.id] = record
        jobs = Jobs()
        for record in sorted(found, key=lambda record: (-record.id, record.submit)):
            if record is newest[record.id] or record.state == "RESIZING":
                job = Job(record)
                jobs[record.id] = job
                jobs.cpus += job.cpus
        return jobs


class db:  # noqa: N801
    Job, Jobs, JobFilter = Job, Jobs, JobFilter
    JobSearchFilter = JobFilter
