"""Every bad file, opened in a watched process: refused in words, or read with nothing run."""

import json
import os
import select
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
import pytest

from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import CheckpointError

from . import forge, opener
from .cases import CASES, INERT

SCALAR = "{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n"
ROOT = Path(__file__).parents[3]
THERE = find_spec("fsspec") is not None
WAITING = 60  # seconds for one file; a reader that waits for a FIFO takes no processor time


class Opener:
    """A process of `opener.py`, and a new one whenever it has died."""

    def __init__(self, warm):
        self.warm = warm
        self.process = None

    def outcome(self, path):
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", opener.__name__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )  # fmt: skip
            self.say([str(file) for file in self.warm])
        self.say(str(path))
        outcome = self.hear()
        if outcome.keys() & {"died", "event"}:
            self.close()
        return outcome

    def say(self, what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def hear(self):
        ready, _, _ = select.select([self.process.stdout], [], [], WAITING)
        line = self.process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self.process.kill()
        return {"died": self.process.wait()}

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
            self.process = None


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("warm")
    contents = {
        "a.pt": forge.state(w=forge.tensor()),
        "b.pt": forge.legacy(forge.dictionary(w=forge.tensor())),
        "c.npz": forge.npz(w=forge.npy(SCALAR, bytes(4))),
        "d.safetensors": forge.safetensors({}),
        "e.pt": b"text",
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    urls = [f"local://{folder / name}" for name in contents] if THERE else []
    started = Opener([*(folder / name for name in contents), *urls])
    yield started
    started.close()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and measured as on Linux")
@pytest.mark.parametrize("title", CASES)
@pytest.mark.parametrize("place", ["here", "there"])
def test_bad_file(place, title, tmp_path, watched):
    make, expected = CASES[title]
    path = make(tmp_path)
    if place == "there":
        links = path.is_dir() and any(map(Path.is_symlink, path.rglob("*")))
        if not THERE or links or not (path.is_file() or path.is_dir()):
            pytest.skip("only files and folders lie in a store" if THERE else "no fsspec")
        path = f"local://{path}"  # fsspec's store of the files of this machine
    outcome = watched.outcome(path)
    assert not list(tmp_path.rglob("ran"))
    if expected == INERT:
        assert "names" in outcome, outcome
        return
    assert "refused" in outcome, outcome
    message = outcome["refused"]
    assert any(part in message for part in expected.split("|")), message
    assert str(path) in message
    assert len(message) < 1000
    assert message.isprintable() or "\n" in message


def test_there_are_enough_of_them():
    assert len(CASES) >= 120


def test_the_watch_itself(tmp_path, watched):
    # What would be found if the reader did run, import, open or connect.
    for code in (
        "import colorsys",
        "open('/etc/hostname')",
        "open(path, 'ab')",
        "compile('1', 'x', 'eval')",
        "__import__('os').system('true')",
        "__import__('socket').socket().connect(('127.0.0.1', 9))",
    ):
        script = (
            "import os, socket, sys\n"
            "from tests.checkpoints.hostile import opener\n"
            f"path = {str(tmp_path / 'x')!r}\n"
            f"code = compile({code!r}, 'x', 'exec')\n"
            "sys.addaudithook(opener.hook)\n"
            f"opener.watching = {str(tmp_path)!r}\n" + ("exec(code)" if "compile" in code else code)
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert done.returncode == 1
        assert "event" in json.loads(done.stdout)


GOOD = {
    "zip": forge.state(w=forge.tensor(), x=forge.call("os.system", forge.text("touch ran"))),
    "legacy": forge.legacy(forge.dictionary(w=forge.tensor())),
    "npz": forge.npz(w=forge.npy(SCALAR.replace("()", "(3,)"), bytes(12))),
    "safetensors": forge.safetensors(
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)
    ),
}


def mutated(data, random):
    """The bytes with a few of them changed, dropped, put in or repeated."""
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        at = random.randrange(len(data))
        kind = random.randrange(4)
        if kind == 0:
            data[at] = random.randrange(256)
        elif kind == 1:
            del data[at : at + random.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = random.randbytes(random.randrange(1, 5))
        else:
            data[at:at] = data[: random.randrange(1, 30)]
    return bytes(data)


@pytest.mark.parametrize("kind", [*GOOD, "pickle in a good zip"])
def test_damage_of_any_kind_is_refused_or_harmless(tmp_path, kind):
    random = Random(0)
    path = tmp_path / "a.pt"
    for _ in range(400):
        if kind in GOOD:
            path.write_bytes(mutated(GOOD[kind], random))
        else:
            body = forge.pickled(forge.dictionary(w=forge.tensor()))
            path.write_bytes(forge.torch_zip(mutated(body, random)))
        assert "escaped" not in (outcome := opener.outcome(path)), outcome


# ------------------------------------------------------------------ files that change while read


COUNT = 2_000_000


def large_file(folder, kind, first=0):
    """A checkpoint of one tensor of 8 MB, COUNT numbers from ``first`` on."""
    values = np.arange(first, first + COUNT, dtype=np.float32).tobytes()
    held = forge.storage(count=COUNT)
    body = forge.dictionary(w=forge.tensor((COUNT,), (1,), 0, held))
    header = {"w": {"dtype": "F32", "shape": [COUNT], "data_offsets": [0, 4 * COUNT]}}
    content = {
        "pt": lambda: forge.torch_zip(forge.pickled(body), {"0": values}),
        "legacy.pt": lambda: forge.legacy(body, data=struct.pack("<q", COUNT) + values),
        "safetensors": lambda: forge.safetensors(header, values),
        "npz": lambda: forge.npz(w=forge.npy(SCALAR.replace("()", f"({COUNT},)"), values)),
    }[kind]()
    path = folder / f"step_1.{kind}"
    path.write_bytes(content)
    return path


KINDS = ["pt", "legacy.pt", "safetensors", "npz"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [0, 100, 4_000_000])
def test_truncated_while_it_is_read(tmp_path, kind, left):
    path = large_file(tmp_path, kind)
    with open_checkpoint(path) as checkpoint:
        os.truncate(path, left)
        with pytest.raises(CheckpointError, match=r"changed while it was read|truncated"):
            checkpoint["w"].read()


@pytest.mark.parametrize("kind", KINDS)
def test_written_over_while_it_is_read(tmp_path, kind):
    path = large_file(tmp_path, kind)
    with open_checkpoint(path) as checkpoint:
        large_file(tmp_path, kind, first=7)
        os.utime(path, ns=(1, 1))  # whatever the clock's resolution
        with pytest.raises(CheckpointError, match="changed while it was read"):
            checkpoint["w"].read()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("replace", [True, False])
def test_replaced_or_deleted_while_it_is_read(tmp_path, kind, replace):
    # What was opened is what is read, as long as it is open.
    path = large_file(tmp_path, kind)
    (tmp_path / "new").mkdir()
    with open_checkpoint(path) as checkpoint:
        if replace:
            large_file(tmp_path / "new", kind, first=7).replace(path)
        else:
            path.unlink()
        values = checkpoint["w"].read()
    np.testing.assert_array_equal(values, np.arange(COUNT, dtype=np.float32))
