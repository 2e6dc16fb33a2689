"""``python -m bnncc``."""

from bnncc.cli.main import main

main()
