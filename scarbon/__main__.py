"""`python -m scarbon` is the command `scarbon`."""

from scarbon.cli import main

main()
