"""The ``hmmdyn`` command, and ``python -m hmmdyn``, which is the same."""

import gc
import sys

# After so many collections of younger objects, Python searches all objects of a process for
# garbage. Those of the libraries, which are most, are none, and a command ends soon.
_FULL_COLLECTION_AFTER = 1000


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback, even while it is still loaded."""
    gc.set_threshold(*gc.get_threshold()[:2], _FULL_COLLECTION_AFTER)
    try:
        from hmmdyn.cli.main import run

        run()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
