"""``python -m editverdict.cli``."""

from editverdict.cli import main

main()
