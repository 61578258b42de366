"""Where numbers come from: Slurm, DCGM through Prometheus, grid intensity, recorded files."""
