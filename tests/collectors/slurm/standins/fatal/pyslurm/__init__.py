"""A stand-in for a pyslurm that finds no slurm.conf: Slurm's library ends the process, and no exception is raised."""

import os
import sys

print("pyslurm: fatal: Could not establish a configuration source", file=sys.stderr, flush=True)
os._exit(1)
