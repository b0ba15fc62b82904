"""What the readers of optional formats share: missing packages, and sizes that cannot be true."""

from __future__ import annotations

from hmmdyn.errors import CheckpointError

# No file of a size can hold more than this: deflate shrinks bytes 1032 times at best, and on top
# of that some chunks need not be stored at all (initial zeros).
_MOST_INFLATED = 1032
_MOST_UNSTORED = 1 << 28  # bytes
# A stored piece has an entry in an index; libraries take some 4 kB of memory for each piece.
_MOST_UNSTORED_CHUNKS = 10_000
_SHORTEST_ENTRY = 16  # bytes


def missing_package(kind: str, package: str, extra: str) -> CheckpointError:
    """Return the error for a format whose package is not installed."""
    return CheckpointError(
        f"it is {kind}, and reading it needs the package {package}, which is not installed. "
        f"Install it with: pip install 'hmmdyn[{extra}]'"
    )


def require_plausible(claimed: int, n_chunks: int, stored: int) -> None:
    """Refuse tensors that would take far more memory or time than the stored bytes account for.

    Parameters
    ----------
    claimed : int
        Bytes that all tensors take once read, whole chunks counted.
    n_chunks : int
        Pieces that all tensors are stored in.
    stored : int
        Bytes of the checkpoint on disk.

    Raises
    ------
    CheckpointError
        The claims cannot be true.
    """
    most_chunks = _MOST_UNSTORED_CHUNKS + stored // _SHORTEST_ENTRY
    if claimed > _MOST_INFLATED * stored + _MOST_UNSTORED or n_chunks > most_chunks:
        raise CheckpointError(
            f"its tensors claim {claimed:,} bytes in {n_chunks:,} pieces, and all it stores is "
            f"{stored:,} bytes. It is damaged, or made to exhaust the memory: do not trust it."
        )
