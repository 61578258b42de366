"""What people touch: the command line, which wires collectors to accounting."""
