"""What runs inside Slurm: prolog, epilog and the journal they write. Standard library only, Python 3.6 and up."""
