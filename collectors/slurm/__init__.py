"""Where jobs come from: one file for each of Slurm's ways to say what ran."""
