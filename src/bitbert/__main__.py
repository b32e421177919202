"""`python -m bitbert`: the command, where its script is not on the path."""

from bitbert.cli.__main__ import main

main()
