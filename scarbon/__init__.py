"""What people touch: the command line, which wires collectors to accounting."""

__version__ = "0.1.0"
