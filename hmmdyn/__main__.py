"""The ``hmmdyn`` command, and ``python -m hmmdyn``, which is the same."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback, even while it is still loaded."""
    try:
        from hmmdyn.cli.main import run

        run()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
