"""The methods in the order of their exactness; the rank in SQL is the place in this list."""

#: Least exact last: a sum's method is the least exact one that gave any of its energy.
METHODS = ("counter", "power", "slurm", "model")
