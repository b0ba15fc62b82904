"""``python -m hmmdyn``: the same as the ``hmmdyn`` command."""

from hmmdyn.cli import main

main()
