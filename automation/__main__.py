"""`python -m automation`: the `edge` command where its console script is not installed."""

from automation.cli import main

main()
