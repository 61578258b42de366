"""A cluster that is not there, with its true energy known: for the demo, the tests and the benchmarks."""
