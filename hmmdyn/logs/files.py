"""Which files may be logs, by their names: nothing is opened here."""

from __future__ import annotations

import re

from hmmdyn.places import Place

TRAINER_STATE = "trainer_state.json"  # Hugging Face's
EVALUATIONS = "evaluations.npz"  # Stable-Baselines3's
PACKED = (".gz", ".zst", ".bz2", ".lz4", ".xz", ".zip")
_LARGEST_TRIED = 32 * 2**20  # bytes
WANDB = ".wandb"  # a run as Weights & Biases keeps it on disk
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", WANDB)
# Names that other things have as well: whether they are logs is told by their content alone.
_PERHAPS = (".json", ".txt", ".log", ".parquet", ".feather", ".arrow", ".db", ".sqlite", ".sqlite3")
_NEVER = re.compile(
    r"debug(?:-internal)?\.log|(?:.*[-_.])?(?:config|tokenizer|vocab|special_tokens_map|preprocessor_config|manifest|index"
    r"|requirements|readme|license|package|args|params|hparams|metadata|meta|schema|added_tokens"
    r"|generation_config|model_index|environment|wandb-metadata|wandb-summary)\.(?:json|txt)",
    re.IGNORECASE,
)


def is_event_file(name: str) -> bool:
    """Whether TensorBoard takes a file of this name for one of its own."""
    return "tfevents" in name


def is_log(name: str) -> bool:
    """Whether a file of this name is a log, or meant for one."""
    return (
        name in (TRAINER_STATE, EVALUATIONS)
        or _unpacked(name).endswith(_TABLES)
        or is_event_file(name)
    )


def may_be_log(name: str) -> bool:
    """Whether a file of this name may be a log; what is none by its content is nobody's concern."""
    if is_log(name):
        return True
    return _unpacked(name).endswith(_PERHAPS) and _NEVER.fullmatch(name) is None


def is_too_large_to_try(path: Place) -> bool:
    """Whether a file that may be anything is too large to be opened for what it may be."""
    return not is_log(path.name) and path.stat().st_size > _LARGEST_TRIED


def _unpacked(name: str) -> str:
    lower = name.lower()
    return lower.rpartition(".")[0] if lower.endswith(PACKED) else lower
