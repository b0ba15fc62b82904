"""Find what may be a checkpoint in a tree of folders: files and whole folders, by their names.

A file of a known suffix is not opened here: what it really holds is told by its content when it is
read. Of any other, and of zip files, the first bytes are looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.walking import Entry, Folder, place_of, regular_file
from hmmdyn.checkpoints.formats.by_content import READERS, format_at
from hmmdyn.logs.files import EVALUATIONS
from hmmdyn.places import RemotePath

# By the end of a file's name. Of one checkpoint saved in several formats, the first is read.
FILE_FORMATS = {
    ".safetensors": "safetensors",
    ".npz": "npz",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".pth.tar": "pytorch",
    ".bin": "pytorch",
    ".ckpt": "pytorch",
    ".keras": "keras",
    ".weights.h5": "hdf5",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".msgpack": "flax",
    ".npy": "npy",
}
# By a file that only such a folder holds.
_FOLDER_FORMATS = {
    "pytorch (distributed)": re.compile(r"__[0-9]+_[0-9]+\.distcp"),
    "orbax": re.compile(r"_CHECKPOINT_METADATA|_METADATA|manifest\.ocdbt|orbax\.checkpoint"),
}
_OLD_ORBAX_FOLDER = re.compile(r"default|items|params|(?:train_)?state|(?:checkpoint_)?[0-9]+")
_PREFERENCE = tuple(
    name
    for kind in dict.fromkeys((*FILE_FORMATS.values(), *READERS, *_FOLDER_FORMATS))
    for name in (kind, f"{kind} (sharded)")
)
_NOT_READ = {
    ".zip": "a zip archive without a model that could be read: unpack it",
    ".nemo": "a NeMo archive: unpack it with tar",
    ".index": "a TensorFlow checkpoint: save the weights from Keras, as .weights.h5",
    **dict.fromkeys(
        (".pkl", ".pickle", ".joblib"),
        "loading a Python pickle can run any code: save the weights as safetensors or npz",
    ),
}
_CHECKPOINT = re.compile(
    rf"(?P<stem>.+?)(?P<suffix>{'|'.join(re.escape(s) for s in FILE_FORMATS)})"
    r"|(?P<flax>checkpoint_[0-9]+)",  # Flax gives its files no suffix
    re.IGNORECASE,
)
# A name's suffix, which a number is not: model_1.5 has none.
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,9}")
# Not looked into: there may be thousands, and none is a checkpoint.
_NO_CHECKPOINT = re.compile(
    r".*\.(?:txt|log|out|err|md|rst|html?|json|jsonl|ndjson|ya?ml|toml|cfg|ini|csv|tsv|parquet|py"
    r"|ipynb|sh|png|jpe?g|gif|svg|pdf|mp4|wav|gz|bz2|xz|zst|tar|lock|index|tfevents.*|wandb|db)",
    re.IGNORECASE,
)
# Formats of models alone; the others hold any arrays, and count where the name tells a time.
_MODEL_FORMATS = {"safetensors", "pytorch", "keras", "stable-baselines3"}
# Files of one checkpoint in several, as Hugging Face writes them.
_SHARD = re.compile(
    r"(?P<stem>.+)-[0-9]{5,}-of-[0-9]{5,}(?P<suffix>\.(?:safetensors|bin))"
    r"|(?P<index_stem>.+)(?P<index_suffix>\.(?:safetensors|bin))\.index(?:\.[^.]+)?\.json"
)
# Keras numbers such files from 0 on, so that they could be taken for steps.
_KERAS_PART = re.compile(r"(?P<stem>.+)_[0-9]{5}\.weights\.h5")
_WHY_NO_KERAS_PART = (
    "a part of Keras weights in several files: save them in one, without max_shard_size"
)
# A file of this name is its folder's checkpoint.
_WHOLE_FOLDER = re.compile(
    r"(?:(?:pytorch|tf|flax|lit|adapter|diffusion_pytorch)_)?model|policy|model_optim_rng"
    r"|model_and_optim|pytorch_model_fsdp(?:_[0-9]+)?"
)


class Candidate(NamedTuple):
    """A file, or a folder that is one checkpoint (``file`` is empty), that may be a checkpoint."""

    folder: tuple[str, ...]
    file: str
    stem: str
    format: str
    size: int
    mtime_ns: int

    @property
    def path(self) -> str:
        """Path relative to the root."""
        return "/".join((*self.folder, self.file) if self.file else self.folder) or "."

    @property
    def parts(self) -> tuple[str, ...]:
        """The names that may say which checkpoint this is."""
        return (*self.folder, self.stem) if self.file else self.folder

    @property
    def preference(self) -> int:
        """Rank among the formats of one checkpoint; the least is read."""
        return _PREFERENCE.index(self.format)

    @property
    def fills_folder(self) -> bool:
        """Whether its name says that the folder is the checkpoint (``model.safetensors``)."""
        return not self.file or _WHOLE_FOLDER.fullmatch(self.stem) is not None

    @property
    def timed_folder(self) -> tuple[str, ...]:
        """The folder that it fills and whose name tells a time; empty where there is none."""
        if not self.fills_folder:
            return ()
        folder = self.folder
        if not self.file and _WHOLE_FOLDER.fullmatch(folder[-1] if folder else ""):
            folder = folder[:-1]
        return folder if folder and layouts.parse(folder[-1]).tells_time else ()


def find_candidates(folders: Iterable[Folder], unreadable: dict[str, str]) -> list[Candidate]:
    """Find what may be a checkpoint in folders, the files of a checkpoint put together.

    Parameters
    ----------
    folders : iterable of Folder
        As a walk meets them: each before those below it.
    unreadable : dict
        Filled with the relative path of each file that is not read, and the reason.
    """
    found: list[Candidate] = []
    whole: dict[tuple[str, ...], tuple[str, list[tuple[Folder, Entry]]]] = {}
    for folder in folders:
        above = (folder.parts[:depth] for depth in range(len(folder.parts) + 1))
        home = next((parts for parts in above if parts in whole), None)
        if home is None:
            kind = _folder_format(folder)
            if kind is None:
                found += _files_in(folder, unreadable)
                continue
            home = folder.parts
            whole[home] = (kind, [])
        whole[home][1].extend((folder, entry) for entry in folder.files)
    for parts, (kind, entries) in whole.items():
        if not layouts.is_companion(parts[-1] if parts else ""):
            found += _candidate(parts, "", "", kind, entries, unreadable)
    return found


def beside_the_model(candidates: Iterable[Candidate]) -> set[Candidate]:
    """Find what lies in the folder of one checkpoint, but is not its model.

    Training state goes by any name (``train.pt``, ``sampler.bin``, ``global_step500/``), so it is
    told by its place: in, or below, a folder named for a time that holds a ``model``. A second file
    there that calls itself a model is another matter, and is not among them.
    """
    candidates = list(candidates)
    filled = {candidate.timed_folder for candidate in candidates} - {()}
    return {
        candidate
        for candidate in candidates
        if not candidate.timed_folder
        and any(candidate.folder[:depth] in filled for depth in range(1, len(candidate.folder) + 1))
        and not (candidate.folder in filled and "model" in candidate.stem)
    }


def _folder_format(folder: Folder) -> str | None:
    """Tell the format of a folder that is one checkpoint; None for any other folder."""
    names = [entry.name for entry in folder.files]
    for kind, mark in _FOLDER_FORMATS.items():
        if any(map(mark.fullmatch, names)):
            return kind
    # Before it wrote metadata, Orbax kept a lone ``checkpoint`` beside folders of arrays.
    called = folder.parts[-1] if folder.parts else ""
    if names == ["checkpoint"] and _OLD_ORBAX_FOLDER.fullmatch(called):
        return "orbax"
    return None


def _files_in(folder: Folder, unreadable: dict[str, str]) -> Iterator[Candidate]:
    """Find the candidates among the files of one folder, shards put together."""
    whole: list[tuple[Entry, str, str]] = []
    shards: dict[str, dict[str, list[Entry]]] = {}
    keras_parts = _keras_parts({entry.name for entry in folder.files})
    for entry in folder.files:
        if entry.name in keras_parts:
            unreadable["/".join((*folder.parts, entry.name))] = _WHY_NO_KERAS_PART
            continue
        shard = _SHARD.fullmatch(entry.name)
        if shard:
            stem = shard["stem"] or shard["index_stem"]
            suffix = shard["suffix"] or shard["index_suffix"]
            shards.setdefault(suffix, {}).setdefault(stem, []).append(entry)
            continue
        match = _CHECKPOINT.fullmatch(entry.name)
        if entry.name == EVALUATIONS:
            continue  # a log, in a format of checkpoints
        if match is None:
            stem, kind = _told_by_content(folder, entry)
            if kind and not layouts.is_companion(stem):
                whole.append((entry, stem, kind))
            elif not kind:
                _note_not_read(folder, entry.name, unreadable)
        elif match["flax"]:
            whole.append((entry, match["flax"], "flax"))
        elif not layouts.is_companion(match["stem"]):
            whole.append((entry, match["stem"], FILE_FORMATS[match["suffix"].lower()]))
    for suffix, sets in shards.items():
        kind = FILE_FORMATS[suffix]
        if len(sets) == 1:
            (entries,) = sets.values()
            of_folder = [(folder, entry) for entry in entries]
            yield from _candidate(folder.parts, "", "", f"{kind} (sharded)", of_folder, unreadable)
        else:  # several checkpoints share the folder: no one of them is the folder
            whole += [
                (entry, stem, kind)
                for stem, entries in sets.items()
                for entry in entries
                if entry.name.endswith(suffix)
            ]
    for entry, stem, kind in whole:
        yield from _candidate(folder.parts, entry.name, stem, kind, [(folder, entry)], unreadable)


def _told_by_content(folder: Folder, entry: Entry) -> tuple[str, str | None]:
    """Return the stem and, if it is a checkpoint, the format of a file of no known suffix."""
    stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - as below
    if not _SUFFIX.fullmatch(suffix):
        stem = entry.name
    # Where every look costs a request, the name decides.
    if _NO_CHECKPOINT.fullmatch(entry.name) or isinstance(entry, RemotePath):
        return stem, None
    kind = format_at(place_of(entry))
    tells_time = stem.isdecimal() or any(
        layouts.parse(part).tells_time for part in (*folder.parts, stem)
    )
    return stem, kind if tells_time or kind in _MODEL_FORMATS else None


def _keras_parts(names: set[str]) -> set[str]:
    """Find the parts of Keras weights in several files, by the index beside them."""
    parts = filter(None, map(_KERAS_PART.fullmatch, names))
    return {part[0] for part in parts if f"{part['stem']}.weights.json" in names}


def _candidate(
    parts: tuple[str, ...],
    file: str,
    stem: str,
    kind: str,
    entries: Iterable[tuple[Folder, Entry]],
    unreadable: dict[str, str],
) -> Iterator[Candidate]:
    """Make a candidate of those of its files that are regular files, if there are any."""
    status = [regular_file(entry, folder.parts, unreadable) for folder, entry in entries]
    known = [s for s in status if s is not None]
    if known:
        size, mtime = sum(s.st_size for s in known), max(s.st_mtime_ns for s in known)
        yield Candidate(parts, file, stem, kind, size, mtime)


def _note_not_read(folder: Folder, name: str, unreadable: dict[str, str]) -> None:
    """Note a file of a kind that is not read, where its path tells a time as checkpoints' do."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - text is faster than Path here
    reason = _NOT_READ.get(suffix.lower())
    if reason and any(layouts.parse(part).tells_time for part in (*folder.parts, stem)):
        unreadable["/".join((*folder.parts, name))] = reason
