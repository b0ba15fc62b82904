"""The bad files: for each how it is made, and what hmmdyn must say of it.

``INERT`` files hold calls of anything at all beside a good tensor. They are read: the tensor is
there, and the call stays words.
"""

# ruff: noqa: E501 - one line is one file where that fits
import io
import json
import os
import socket
import struct
import tarfile
import zlib
from pathlib import Path

from .forge import (
    EMPTY_HOOKS,
    Entry,
    beside,
    call,
    dictionary,
    integer,
    integers,
    legacy,
    make_zip,
    name,
    npy,
    npz,
    pickled,
    safetensors,
    state,
    storage,
    tensor,
    text,
    torch_entries,
    torch_zip,
    tuple_of,
)

INERT = "read, and nothing of it done"

CASES = {}  # name -> (function of a folder that returns the path, INERT or part of the refusal)


def case(title, expected, content=None, file="step_1.pt"):
    """Register a file of this content, or a function that makes a path in a folder."""

    def written(folder):
        (folder / file).write_bytes(content() if callable(content) else content)
        return folder / file

    def register(function):
        assert title not in CASES, title
        CASES[title] = (function, expected)
        return function

    return register(written) if content is not None else register


# --------------------------------------------------------- calls of anything, in every instruction

GADGETS = {
    "os.system": [text("touch ran")],
    "posix.system": [text("touch ran")],
    "nt.system": [text("touch ran")],
    "builtins.eval": [text("open('ran', 'w')")],
    "builtins.exec": [text("open('ran', 'w')")],
    "builtins.compile": [text("1"), text("x"), text("exec")],
    "builtins.open": [text("ran"), text("w")],
    "builtins.__import__": [text("antigravity")],
    "__builtin__.apply": [name("os.system"), tuple_of(text("touch ran"))],
    "subprocess.Popen": [b"](" + text("touch") + text("ran") + b"e"],
    "functools.partial": [name("os.system"), text("touch ran")],
    "operator.attrgetter": [text("__class__.__base__")],
    "importlib.import_module": [text("antigravity")],
    "runpy.run_path": [text("ran.py")],
    "pickle.loads": [text("cos\nsystem\n(S'touch ran'\ntR.")],
    "marshal.loads": [text("x")],
    "types.CodeType": [],
    "types.FunctionType": [],
    "ctypes.CDLL": [text("libc.so.6")],
    "socket.create_connection": [tuple_of(text("127.0.0.1"), integer(9))],
    "urllib.request.urlopen": [text("http://127.0.0.1/")],
    "shutil.rmtree": [text("/nowhere")],
    "webbrowser.open": [text("http://127.0.0.1/")],
    "timeit.timeit": [text("1"), text("open('ran', 'w')")],
    "pty.spawn": [text("sh")],
    "numpy.load": [text("/etc/passwd")],
    "numpy.testing._private.utils.runstring": [text("open('ran','w')"), b"}"],
    "numpy.f2py.crackfortran.getlincoef": [text("1"), b"}"],
    "torch.load": [text("ran.pt")],
    "torch.hub.load": [text("some/where"), text("model")],
    "torch.utils.collect_env.run": [text("touch ran")],
    "torch._C._jit_pass_inline": [],
    "torch.utils.cpp_extension.load": [text("x"), text("x.cpp")],
    "torch.distributed.rpc.remote": [text("x"), name("os.system")],
}
for _gadget, _arguments in GADGETS.items():
    case(f"REDUCE {_gadget}", INERT, beside(call(_gadget, *_arguments)))

_system = name("os.system")
_touch = text("touch ran")
for _title, _payload in {
    "OBJ": b"(" + _system + _touch + b"o",
    "INST": b"(" + _touch + b"ios\nsystem\n",
    "NEWOBJ": _system + tuple_of(_touch) + b"\x81",
    "NEWOBJ_EX": _system + tuple_of(_touch) + dictionary(shell=b"\x88") + b"\x92",
    "STACK_GLOBAL": text("os") + text("system") + b"\x93" + tuple_of(_touch) + b"R",
    "STACK_GLOBAL with a dotted name": text("os") + text("path.os.system") + b"\x93)R",
    "BUILD": call("builtins.object") + dictionary(__class__=_system) + b"b",
    "BUILD of slots": call("builtins.object") + tuple_of(b"N", dictionary(f=_system)) + b"b",
    "BUILD with __setstate__": call("os._wrap_close") + dictionary(__setstate__=_system) + b"b",
    "a getattr chain": call("builtins.getattr", call("builtins.getattr", name("os.path"), text("os")),
                            text("system")) + tuple_of(_touch) + b"R",
    "a call that is thrown away (OBJ, POP)": b"N(" + _system + _touch + b"o0",
    "a call that is thrown away (REDUCE, POP)": b"N" + call("os.system", _touch) + b"0",
    "a call kept in the memo only": call("os.system", _touch) + b"q\x090N",
    "a call as a key": b"}" + call("os.system", _touch) + b"Ns",
    "a call of the result of a call": call("os.system", _touch) + b")R",
    "a call with arguments that are a call": _system + call("builtins.list") + b"R",
    "appending to what a call made": call("os.system", _touch) + b"(NNe",
    "items for what a call made": call("os.system", _touch) + text("k") + b"Ns",
    "a set of calls": b"\x80\x04\x8f(" + call("os.system", _touch) + b"\x90",
    "a module that names a lambda": name("__main__.<lambda>"),
}.items():  # fmt: skip
    case(_title, INERT, beside(_payload))

for _title, _payload in {
    "EXT1": b"\x82\x01",
    "EXT2": b"\x83\x01\x00",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "NEXT_BUFFER": b"\x97",
    "READONLY_BUFFER": b"N\x98",
}.items():
    case(_title, "an instruction that no checkpoint needs", beside(_payload))

case("a call as the whole file", "holds no tensors", torch_zip(pickled(call("os.system", _touch))))
case("a second pickle after STOP", "bytes follow the end of the pickle",
     torch_zip(pickled(dictionary(w=tensor())) + pickled(call("os.system", _touch))))  # fmt: skip
case("a storage type that is a gadget", "storage of type 'os.system'",
     state(w=tensor(held_in=storage(kind="os.system"))))  # fmt: skip
case("a storage type that is a torch function", "storage of type 'torch.load'",
     state(w=tensor(held_in=storage(kind="torch.load"))))  # fmt: skip
case("a persistent id that is a gadget", "no storage that PyTorch could",
     state(w=tensor(held_in=_system + b"Q")))  # fmt: skip
case("a persistent id that is a call", "no storage that PyTorch could",
     state(w=tensor(held_in=call("os.system", _touch) + b"Q")))  # fmt: skip
case("a persistent id that is text", "no storage that PyTorch could",
     state(w=tensor(held_in=b"Pstorage\n")))  # fmt: skip
case("a storage that is a call", "something that is no storage",
     state(w=tensor(held_in=call("os.system", _touch))))  # fmt: skip
case(
    "a storage that is a number", "something that is no storage", state(w=tensor(held_in=b"K\x01"))
)
case("a dtype that is a gadget", "not one that PyTorch writes",
     state(w=call("torch._utils._rebuild_tensor_v3", storage(), b"K\0", integers((2, 2)),
                  integers((2, 1)), b"\x89", EMPTY_HOOKS, name("os.system"))))  # fmt: skip
case("a tensor class that is a gadget", "not one that PyTorch writes",
     state(w=call("torch._tensor._rebuild_from_type_v2", name("os.system"), name("torch.Tensor"),
                  tuple_of(_touch), b"N", b"N")))  # fmt: skip
case("a function in place of the rebuilding one", INERT,
     beside(call("torch._tensor._rebuild_from_type_v2", name("os.system"), name("torch.Tensor"),
                 tuple_of(_touch), b"N")))  # fmt: skip
case("state put into a tensor", "not one that PyTorch writes", state(w=tensor() + b"}b"))
case(
    "items put into a tensor", "not one that PyTorch writes", state(w=tensor() + text("k") + b"Ns")
)
case("a parameter of no tensor", "not one that PyTorch writes",
     state(w=call("torch._utils._rebuild_parameter", text("x"), b"\x88", EMPTY_HOOKS)))  # fmt: skip


@case("parameters of parameters of parameters", "not one that PyTorch writes")
def _(folder):
    body = tensor()
    for _ in range(5000):
        body = call("torch._utils._rebuild_parameter", body, b"\x88", EMPTY_HOOKS)
    (folder / "a.pt").write_bytes(state(w=body))
    return folder / "a.pt"


# --------------------------------------------------------------------------------------- bombs


def laughs(levels, make, leaf):
    """One object: each level holds the level below several times."""
    body = leaf + b"q\x00"
    for level in range(1, levels):
        body += b"0" + make(b"h" + bytes([level - 1])) + b"q" + bytes([level])
    return body


case("billion laughs of lists", INERT,
     beside(laughs(60, lambda one: b"](" + 10 * one + b"e", b"]")))  # fmt: skip
case("billion laughs of lists with a tensor", "share their parts so often",
     beside(laughs(60, lambda one: b"](" + 10 * one + b"e", tensor())))  # fmt: skip
case("billion laughs of dictionaries", "share their parts so often",
     beside(laughs(60, lambda one: b"}(" + b"".join(text(k) + one for k in "abcdef") + b"u",
                   tensor())))  # fmt: skip
case("nested tuples as a key", INERT,
     beside(b"}" + laughs(60, lambda one: tuple_of(one, one), b")") + b"Ns"))  # fmt: skip
case("nested tuples in a set", INERT,
     beside(b"\x8f(" + laughs(60, lambda one: tuple_of(one, one), b")") + b"\x90"))  # fmt: skip
case("a key nested 200,000 deep", INERT, lambda: beside(b"})" + b"\x85" * 200_000 + b"Ns"))
case("lists nested 200,000 deep", INERT, lambda: beside(b"]" * 200_000 + b"a" * 199_999))
case("lists nested 200,000 deep around a tensor", "64 levels deep",
     lambda: beside(b"]" * 200_000 + tensor() + b"a" * 200_000))  # fmt: skip
case("dictionaries nested 200,000 deep around a tensor", "64 levels deep",
     lambda: beside((b"}" + text("k")) * 200_000 + tensor() + b"s" * 200_000))  # fmt: skip
case("calls nested 200,000 deep", INERT,
     lambda: beside(name("os.system") * 200_000 + b")" + b"R\x85" * 199_999 + b"R"))  # fmt: skip
case("states nested 200,000 deep", INERT,
     lambda: beside(call("a.b") * 200_000 + b"N" + b"b" * 200_000))  # fmt: skip
case("marks nested 200,000 deep", "is damaged or forged", lambda: beside(b"(" * 200_000))
case("modules in modules for ever", "holds no tensors",
     state(w=call("a.Net") + b"q\x07" + dictionary(_parameters=b"}", _buffers=b"}", _modules=b"h\x07")
           + b"b"))  # fmt: skip
case("a list that contains itself", INERT, beside(b"]q\x05h\x05a"))
case("a dictionary that contains itself", INERT, beside(b"}q\x05" + text("k") + b"h\x05s"))
case("an object whose state is itself", INERT, beside(call("a.b") + b"q\x05h\x05b"))
case("a tuple and a list that contain each other", INERT, beside(b"]q\x05h\x05\x85a"))
case("an array whose parts are itself", INERT,
     beside(name("builtins.bytearray") + b"]q\x05h\x05aR"))  # fmt: skip
case("sizes that contain themselves", "not one that PyTorch writes",
     state(w=call("torch._utils._rebuild_tensor", storage(), b"K\0", b"]q\x05h\x05a", b"]")))  # fmt: skip
case("a flood of DUP", INERT, lambda: beside(b"N" + b"2" * 3_000_000))
case("a flood of DUP in a list", INERT, lambda: beside(b"](N" + b"2" * 1_000_000 + b"e"))
case("a flood of MEMOIZE", "more instructions than any checkpoint",
     lambda: beside(b"N" + b"\x94" * 4_000_000))  # fmt: skip
case("a flood of empty dictionaries", "more instructions than any checkpoint",
     lambda: beside(b"](" + b"}" * 4_000_000 + b"e"))  # fmt: skip
case("a flood of marks", "more instructions than any checkpoint",
     lambda: beside(b"](" + b"(1" * 4_000_000 + b"e"))  # fmt: skip
case(
    "a huge integer",
    "an integer of",
    lambda: beside(b"\x8b" + struct.pack("<i", 4 << 20) + b"\1" * (4 << 20)),
)
case(
    "a huge decimal integer",
    "is damaged or forged",
    lambda: beside(b"L" + b"9" * 1_000_000 + b"L\n"),
)
case("a huge integer as a size", "not one that PyTorch writes|an integer of|memory has addresses",
     state(w=tensor(shape=(1 << 500, 2), strides=(0, 0))))  # fmt: skip
case("a huge number as an outcome", INERT, beside(dictionary(loss=integer(1 << 900))))
case("a name of a million letters", "by 1,000,000 letters",
     lambda: torch_zip(pickled(b"}" + text("n" * 1_000_000) + tensor() + b"s")))  # fmt: skip
case("a million long names of one tensor", "share their parts so often",
     lambda: beside(tensor() + b"q\x01" + b"0" + text("n" * 4000) + b"q\x02" + b"0"
                    + b"](" + b"}h\x02h\x01s" * 50_000 + b"e"))  # fmt: skip
_ARRAY = (
    name("numpy._core.multiarray._reconstruct")
    + tuple_of(name("numpy.ndarray"), integers((0,)), text("b"))
    + b"R"
)
case(
    "a text that stands for the bytes of 200 arrays",
    INERT,
    lambda: beside(
        text("\0" * 4_000_000)
        + b"q\x010"
        + call("numpy.dtype", text("f4"))
        + b"q\x020]("
        + (_ARRAY + tuple_of(b"K\x01", integers((1_000_000,)), b"h\x02", b"\x89", b"h\x01") + b"b")
        * 200
        + b"e0N"
    ),
)

for _power in (36, 40, 47, 62, 63):
    _claim = struct.pack("<Q", 1 << _power)
    for _title, _code in {
        "BINBYTES8": b"\x8e",
        "BINUNICODE8": b"\x8d",
        "BYTEARRAY8": b"\x96",
    }.items():
        case(f"{_title} that claims 2^{_power} bytes", "is damaged or forged",
             beside(_code + _claim + b"x"))  # fmt: skip
for _title, _code in {
    "BINBYTES": b"B",
    "BINUNICODE": b"X",
    "LONG4": b"\x8b",
    "BINSTRING": b"T",
}.items():
    case(f"{_title} that claims 2^31 - 1 bytes", "is damaged or forged",
         beside(_code + struct.pack("<i", 2**31 - 1) + b"x"))  # fmt: skip
case("LONG4 of negative length", "is damaged or forged", beside(b"\x8b" + struct.pack("<i", -1)))
case("FRAME that claims 2^62 bytes", INERT, beside(b"\x95" + struct.pack("<Q", 1 << 62) + b"N"))
case("a memo index of 2^31", INERT, beside(b"Nr\xff\xff\xff\x7f"))

# -------------------------------------------------------------------------- pickles that make no sense

for _title, _pickle in {
    "an empty pickle": b"",
    "a pickle without STOP": b"\x80\x02}",
    "an unknown instruction": b"\x80\x02\xff.",
    "a protocol of the future": None,
    "STOP on an empty stack": b"\x80\x02.",
    "two objects at STOP": b"\x80\x02NN.",
    "a call without arguments": b"\x80\x02R.",
    "a tuple of too few": b"\x80\x02N\x87.",
    "items without a mark": b"\x80\x02}u.",
    "a key without a value": b"\x80\x02}(Nu.",
    "items for a list": b"\x80\x02](NNu.",
    "elements for a dictionary": b"\x80\x02}(NNe.",
    "state for a list": b"\x80\x02]}b.",
    "state twice": b"\x80\x02ca\nb\n)R}b}b.",
    "a memo entry that is not there": b"\x80\x02h\x07.",
    "text that is not UTF-8": b"\x80\x02X\x02\0\0\0\xff\xfe.",
    "a name that is not UTF-8": b"\x80\x02c\xff\n\xfe\n.",
    "a name by numbers": b"\x80\x04K\x01K\x02\x93.",
    "an object of no class": b"\x80\x02(o.",
    "a name without an end": b"\x80\x02cos" + b"x" * 1000,
    "text in the middle of nowhere": b"hello world",
}.items():
    if _pickle is not None:
        case(_title, "is damaged or forged", torch_zip(_pickle))

# ------------------------------------------------------------------------------ impossible tensors

for _title, (_changes, _why) in {
    "an offset beyond the storage": ({"offset": 4}, "reaches to element"),
    "an offset of 2^62": ({"offset": 1 << 62}, "reaches to element"),
    "a size beyond the storage": ({"shape": (3, 2)}, "reaches to element 6 of a storage that holds 4"),
    "a stride beyond the storage": ({"strides": (1 << 40, 1)}, "reaches to element"),
    "a negative offset": ({"offset": -1}, "negative"),
    "a negative size": ({"shape": (-2, 2)}, "negative"),
    "a negative stride": ({"strides": (-2, 1), "offset": 2}, "negative"),
    "strides for other axes": ({"strides": (1,)}, "other axes"),
    "5,000 axes": ({"shape": (1,) * 5000, "strides": (1,) * 5000}, "5,000 axes"),
    "a size of 2^63": ({"shape": (1 << 63,), "strides": (0,)}, "memory has addresses"),
    "an empty tensor of 2^80 rows": ({"shape": (1 << 80, 0), "strides": (0, 0)}, "memory has addresses"),
    "an expanded monster": ({"shape": (1 << 20, 1 << 20), "strides": (0, 0)}, "repeats a storage"),
    "an overlapping monster": ({"shape": (1 << 40, 2), "strides": (0, 1)}, "repeats a storage"),
}.items():  # fmt: skip
    case(_title, _why, state(w=tensor(**_changes)))

for _title, _argument in {"text": text("x"), "a list of text": b"](" + text("x") + b"e", "none": b"N",
                          "truth": tuple_of(b"\x88", b"\x88")}.items():  # fmt: skip
    case(f"sizes that are {_title}", "not one that PyTorch writes",
         state(w=call("torch._utils._rebuild_tensor", storage(), b"K\0", _argument, b")")))  # fmt: skip
case(
    "too few arguments",
    "not one that PyTorch writes",
    state(w=call("torch._utils._rebuild_tensor")),
)
case("arguments that are no tuple", "not one that PyTorch writes",
     state(w=name("torch._utils._rebuild_tensor_v2") + b"]R"))  # fmt: skip
case("a negative number in no type that has one", "is to be negated",
     state(w=call("torch._utils._rebuild_tensor_v2", storage(kind="torch.ByteStorage", count=16), b"K\0",
                  integers((2,)), integers((1,)), b"\x89", EMPTY_HOOKS, dictionary(neg=b"\x88"))))  # fmt: skip
case("a storage that is missing", "the storage '7' of a tensor is missing",
     state(w=tensor(held_in=storage("7"))))  # fmt: skip
for _key in ("../../../etc/passwd", "/etc/passwd", "..", "", "0/../0", "0\0"):
    case(
        f"a storage called {_key!r}",
        "of a tensor is missing",
        state(w=tensor(held_in=storage(_key))),
    )
case("a storage of 2^60 elements", "should take", state(w=tensor(held_in=storage(count=1 << 60))))
case(
    "a storage of fewer elements than it has",
    "should take",
    state(w=tensor(held_in=storage(count=3))),
)
case(
    "a storage of -1 elements",
    "no storage that PyTorch",
    state(w=tensor(held_in=storage(count=-1))),
)
case("a storage read as two types of different size", "should take", state(
    w=tensor(), v=tensor(held_in=storage(kind="torch.DoubleStorage"))))  # fmt: skip
case("a NumPy array larger than its bytes", "reaches to element", beside(
    call("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), integers((0,)), text("b"))
    + tuple_of(b"K\1", integers((1 << 40,)), call("numpy.dtype", text("f8")), b"\x89", text("x")) + b"b"))  # fmt: skip
case("a NumPy array of objects", INERT, beside(
    call("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), integers((0,)), text("b"))
    + tuple_of(b"K\1", integers((1,)), call("numpy.dtype", text("O8")), b"\x89",
               b"]" + call("os.system", _touch) + b"a") + b"b"))  # fmt: skip
case("a NumPy number of a type that is code", INERT, beside(
    call("numpy._core.multiarray.scalar", call("numpy.dtype", text("f8,__import__('os')")), text("x"))))  # fmt: skip
case("a NumPy type of 99 bytes", INERT, beside(
    call("numpy._core.multiarray.scalar", call("numpy.dtype", text("f99")), text("x"))))  # fmt: skip
case("an entry named twice, by text and by number", INERT, torch_zip(
    pickled(b"}(" + text("1") + tensor() + b"K\x01" + tensor() + b"u")))  # fmt: skip
case("a tensor alone", "holds a Tensor, not a dictionary", torch_zip(pickled(tensor())))
case(
    "a list of tensors",
    "holds a list, not a dictionary",
    torch_zip(pickled(b"]" + tensor() + b"a")),
)
case("a number", "holds a int, not a dictionary", torch_zip(pickled(b"K\x01")))
case("no tensors at all", "holds no tensors", torch_zip(pickled(b"}")))

# ------------------------------------------------------------------------------------------- zip

_GOOD = pickled(dictionary(w=tensor()))
_ENTRIES = torch_entries(_GOOD)
_ZIP = torch_zip(_GOOD)


def changed(index, local=None, central=None, **more):
    entries = torch_entries(_GOOD)
    entries[index].local.update(local or {})
    entries[index].central.update(central or {})
    for field, value in more.items():
        setattr(entries[index], field, value)
    return make_zip(entries)


case("a good file, to hold the others against", INERT, _ZIP)
case("an empty file", "is empty", b"")
case("half a file", "truncated", _ZIP[: len(_ZIP) // 2])
case("a file without its last byte", "truncated", _ZIP[:-1])
case("a zip start alone", "truncated", b"PK\3\4")
case("an end record alone", "format is unknown", make_zip([]))
case("trailing bytes", "bytes follow the end", _ZIP + b"x")
case("a megabyte of trailing zeros", "truncated", _ZIP + bytes(1 << 20))
case("bytes before the zip data", "format is unknown", b"#!/bin/sh\n" + _ZIP)
case("bytes before the zip data, offsets adjusted", "format is unknown",
     make_zip(_ENTRIES, head=b"#!/bin/sh\nexit\n"))  # fmt: skip
case("two zip files in a row", "should take bytes", _ZIP + _ZIP)
case("two end records", "should take|contradicts", _ZIP + _ZIP[-22:])
case("an end record in a comment", "contradicts itself|follow the end|should take",
     make_zip(_ENTRIES, end={"comment": 22}, tail=_ZIP[-22:]))  # fmt: skip
case("a comment", "bytes follow the end", make_zip(_ENTRIES, end={"comment": 3}, tail=b"hey"))
case(
    "an end record that claims a comment",
    "contradicts itself",
    make_zip(_ENTRIES, end={"comment": 9}),
)
case(
    "more entries claimed than there are",
    "directory",
    make_zip(_ENTRIES, end={"here": 9, "count": 9}),
)
case(
    "fewer entries claimed than there are",
    "do not fill",
    make_zip(_ENTRIES, end={"here": 2, "count": 2}),
)
case("entries on another disk", "contradicts itself", make_zip(_ENTRIES, end={"disk": 1}))
case("a directory at 4 GiB", "should take bytes", make_zip(_ENTRIES, end={"offset": 0xFFFFFFFE}))
case("a directory of 4 GiB", "should take bytes", make_zip(_ENTRIES, end={"size": 0xFFFFFFFE}))
case("zip64 values without a zip64 record", "should take bytes",
     make_zip(_ENTRIES, end={"offset": 0xFFFFFFFF, "size": 0xFFFFFFFF}))  # fmt: skip
case(
    "bytes between the directory and the end",
    "do not fill",
    make_zip(_ENTRIES, directory_extra=b"xxxx"),
)
case("a zip64 locator that points elsewhere", "locator points elsewhere",
     make_zip(_ENTRIES, directory_extra=struct.pack("<4sIQI", b"PK\6\7", 0, 1 << 60, 1)))  # fmt: skip
case("two data.pkl of one name", "share a name", make_zip([*_ENTRIES, Entry("a/data.pkl", _GOOD)]))
case(
    "two storages of one name", "share a name", make_zip([*_ENTRIES, Entry("a/data/0", bytes(16))])
)
case("two data.pkl in two folders", "2 pickles", make_zip([*_ENTRIES, Entry("b/data.pkl", _GOOD)]))
case("a deflated pickle", "is compressed", changed(0, method=8))
case("a deflated storage", "is compressed", changed(2, method=8))
case("a deflate bomb of 200 MB", "is compressed", lambda: make_zip(
    [*torch_entries(_GOOD)[:2], Entry("a/data/0", bytes(200 << 20), method=8)]))  # fmt: skip
case("an entry stored by an unknown method", "compressed by method 97",
     changed(2, local={"method": 97}, central={"method": 97}))  # fmt: skip
case("an encrypted entry", "is encrypted", changed(2, flags=0x801))
case("an entry with masked headers", "is encrypted", changed(2, flags=0x2800))
case("a wrong checksum of the pickle", "checksum", changed(0, local={"crc": 1}, central={"crc": 1}))
case("a wrong checksum of a storage", "checksum", changed(2, local={"crc": 1}, central={"crc": 1}))
case("a flipped bit in a storage", "checksum",
     _ZIP.replace(struct.pack("<4f", 1, 2, 3, 4), struct.pack("<4f", 1, 2, 3, 5)))  # fmt: skip
for _field, _value in {
    "name": 3,
    "method": 8,
    "flags": 0,
    "crc": 5,
    "size": 15,
    "compressed": 15,
}.items():
    case(f"a local header with another {_field}", "contradicts the zip directory",
         changed(2, local={_field: _value}))  # fmt: skip
case("a directory with another name", "contradicts the zip directory",
     changed(2, central={"name_data": b"a/data/1"}))  # fmt: skip
case(
    "a local header that is none",
    "contradicts|truncated|overlaps",
    changed(2, central={"offset": 7}),
)
case(
    "a local header beyond the end",
    "truncated|belong to nothing",
    changed(2, central={"offset": 1 << 30}),
)
case("two entries over the same bytes", "overlaps|contradicts|share",
     changed(3, central={"offset": 0, "name_data": b"a/data.pkl", "name": 10}))  # fmt: skip
case("an entry that reaches over the next", "overlaps", changed(
    2, local={"size": 40, "compressed": 40}, central={"size": 40, "compressed": 40}))  # fmt: skip
case("an entry that claims 4 GiB", "overlaps", changed(
    2, local={"size": 1 << 31, "compressed": 1 << 31},
    central={"size": 1 << 31, "compressed": 1 << 31}))  # fmt: skip
case(
    "a stored entry of two sizes",
    "is compressed",
    changed(2, local={"size": 1 << 30}, central={"size": 1 << 30}),
)
case("zip64 sizes that are missing", "lacks its zip64", changed(2, central={"size": 0xFFFFFFFF}))
_HUGE = struct.pack("<HHQQ", 1, 16, 1 << 62, 1 << 62)
case("zip64 sizes of 2^62", "overlaps|contradicts", changed(
    2, central={"size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF, "extra": 20, "extra_data": _HUGE},
    local={"size": 0xFFFFFFFF, "compressed": 0xFFFFFFFF, "extra": 20, "extra_data": _HUGE}))  # fmt: skip
case("bytes between entries", "belong to nothing", changed(2, before=b"hidden"))
case("a data descriptor that lies", "belong to nothing", changed(
    2, flags=0x808, after=b"PK\7\10" + struct.pack("<III", 1, 16, 16)))  # fmt: skip
case("a data descriptor that is missing", "belong to nothing", changed(2, flags=0x808))
case(
    "an entry whose name is not UTF-8",
    "neither ASCII nor UTF-8",
    changed(3, central={"name_data": b"a/\xff\xfe\xff\xffio"}),
)
for _name in ("../evil", "/etc/passwd", "a/../../evil", "..\\evil"):
    case(
        f"an entry called {_name}",
        "points out of the file",
        make_zip([*_ENTRIES, Entry(_name, b"x")]),
    )
case(
    "a name with a zero byte",
    "points out of the file",
    make_zip([*_ENTRIES, Entry("a/data.pkl\0", b"")]),
)
case("byte order neither little nor big", "not as little or big", changed(1, data=b"middle"))
case(
    "a zip file of something else",
    "neither a PyTorch checkpoint",
    make_zip([Entry("readme", b"hi")]),
)
case("20,000 empty entries", INERT, lambda: make_zip(
    [*torch_entries(_GOOD), *(Entry(f"a/x{i}", b"") for i in range(20_000))]))  # fmt: skip

# ------------------------------------------------------------------- PyTorch's format before 1.6

_L = dictionary(w=tensor())
case("a good legacy file, to hold the others against", INERT, legacy(_L))
case("a legacy file cut in a storage", "truncated|would take", legacy(_L)[:-3])
case("a legacy file cut in its pickle", "truncated|damaged", legacy(_L)[:150])
case("a legacy file with nothing but its start", "truncated|damaged", legacy(_L)[:40])
case("a legacy file with trailing bytes", "bytes follow its last storage", legacy(_L) + b"x")
case(
    "a legacy storage of 2^60 elements", "should take", legacy(_L, data=struct.pack("<q", 1 << 60))
)
case("a legacy storage of -1 elements", "should take", legacy(_L, counts=(-1,)))
case("a legacy storage listed twice", "list of its storages", legacy(_L, ("0", "0"), (4, 4)))
case("a legacy storage that nobody uses", "list of its storages", legacy(_L, ("0", "1"), (4, 4)))
case("a legacy storage that is not listed", "is missing", legacy(_L, (), ()))
case("a legacy storage of two types", "described in two ways", legacy(
    dictionary(w=tensor(), v=tensor(held_in=storage(kind="torch.IntStorage")))))  # fmt: skip
case("a legacy view beyond its storage", "would take|truncated", legacy(dictionary(w=tensor(held_in=storage(
    extra=tuple_of(text("v"), integer(2), integer(4)))))))  # fmt: skip
case(
    "a legacy view that is text",
    "viewed in a way",
    legacy(dictionary(w=tensor(held_in=storage(extra=text("v"))))),
)
case("a legacy file of another protocol", "no release has written",
     legacy(_L, head=b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xea\x03.\x80\x02}."))  # fmt: skip
case(
    "a legacy pickle that claims 2^62 bytes", "claims", legacy(b"\x8e" + struct.pack("<Q", 1 << 62))
)
case(
    "a legacy pickle that names os.system",
    INERT,
    legacy(dictionary(w=tensor(), x=call("os.system", _touch))),
)
case("a legacy file with a system record that is a call", INERT,
     legacy(_L, head=b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
            + pickled(call("os.system", _touch))))  # fmt: skip


def in_itself(data):
    return call("torch.storage._load_from_bytes", b"B" + struct.pack("<I", len(data)) + data)


def nested(levels):
    data = legacy(storage(), data=struct.pack("<q4f", 4, 1, 2, 3, 4))
    for _ in range(levels):
        inner = pickled(in_itself(data))
        data = legacy(in_itself(data), (), ()) if inner else data
    return in_itself(data)


case("a file in the file", INERT, state(w=tensor(held_in=nested(0))))
case("files in files in files", "files in files", state(w=tensor(held_in=nested(6))))
case(
    "a file in the file that is damaged",
    "truncated|damaged",
    state(w=tensor(held_in=in_itself(b"PK\3\4"))),
)
case("a file in the file that is a call", "something that is no storage",
     state(w=tensor(held_in=in_itself(legacy(call("os.system", _touch), (), ())))))  # fmt: skip
case("a file in the file of no bytes", "truncated|damaged", state(w=tensor(held_in=in_itself(b""))))

# ----------------------------------------------------------------------------------- safetensors

_ST = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
_8 = bytes(8)


def st(title, why, header, data=_8, length=None):
    case(f"safetensors: {title}", why, safetensors(header, data, length), "step_1.safetensors")


st("a good one, to hold the others against", INERT, {"w": _ST})
for _power in (24, 31, 32, 40, 63):
    st(
        f"a header of 2^{_power} bytes",
        "truncated|allows|unknown|claims",
        {"w": _ST},
        length=1 << _power,
    )
st("an empty header", "JSON|unknown|truncated|zeros", b"", length=0)
st("a header that is a list", "JSON|unknown", b"[1,2]    ")
st("a header that is not UTF-8", "not valid", b'{"\xff\xfe":1}')
st(
    "a name twice",
    "twice",
    b'{"w":' + json.dumps(_ST).encode() + b',"w":' + json.dumps(_ST).encode() + b"}",
)
st("a depth bomb of lists", "JSON", b'{"a":' + b"[" * 100_000)
st("a depth bomb of objects", "JSON", b'{"a":' * 100_000)
st("overlapping tensors", "overlap", {"w": _ST, "v": _ST})
st("a hole", "gap|hole|overlap", {"w": {**_ST, "data_offsets": [4, 12]}}, bytes(12))
st("bytes after the last tensor", "follow", {"w": _ST}, bytes(9))
st("too few bytes", "truncated", {"w": _ST}, bytes(7))
st("offsets the wrong way round", "ends before it starts", {"w": {**_ST, "data_offsets": [8, 0]}})
st("a negative offset", "whole number", {"w": {**_ST, "data_offsets": [-8, 0]}})
st("offsets that are fractions", "whole number", {"w": {**_ST, "data_offsets": [0, 8.0]}})
st("offsets that are truth", "whole number", {"w": {**_ST, "data_offsets": [False, 8]}})
st("a shape of 2^80", "fill", {"w": {**_ST, "shape": [1 << 80]}})
st(
    "a shape of 2^80 rows of nothing",
    "fill|address|axes|large",
    {"w": {**_ST, "shape": [1 << 80, 0]}},
)
st(
    "an empty shape of 2^80 rows",
    "address|large|fill",
    {"w": {"dtype": "F32", "shape": [1 << 80, 0], "data_offsets": [0, 0]}},
    b"",
)
st("5,000 axes", "axes|dimension", {"w": {**_ST, "shape": [2] + [1] * 5000}})
st("an integer of 5,000 digits", "JSON", b'{"w":' + b"9" * 5000 + b"}")
st("a type that is a list", "wrongly|stored as|does not read", {"w": {**_ST, "dtype": ["F32"]}})
st("a type of the future", "stored as", {"w": {**_ST, "dtype": "F4"}})
st("a tensor that is text", "wrongly", {"w": "text"})
st(
    "NaN in the header",
    "whole number|JSON|wrongly",
    b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}',
)
st("metadata that is a list", INERT, {"__metadata__": [1], "w": _ST})
st(
    "twenty thousand tensors",
    INERT,
    {f"w{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)},
    b"",
)

# ------------------------------------------------------------------------------------------- npz

_HEAD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
_NPY = npy(_HEAD + "\n", bytes(8))


def nz(title, why, array, **more):
    case(f"npz: {title}", why, npz(w=array, **more), "step_1.npz")


def npy_and_nz(title, why, array):
    nz(title, why, array)
    case(f"npy: {title}", why, array, "step_1.npy")


npy_and_nz("a good one, to hold the others against", INERT, _NPY)
for _title, _header in {
    "a header that is code": "__import__('os').system('touch ran')",
    "a header with a call": "{'descr': __import__('os').system('touch ran'), 'fortran_order': False, 'shape': (2,)}",
    "a header that is a comprehension": "[x for x in ().__class__.__base__.__subclasses__()]",
    "a header of brackets": "(" * 5000,
    "a header of minus signs": "-" * 5000 + "1",
    "a header without a shape": "{'descr': '<f4', 'fortran_order': False}",
    "a shape that is text": "{'descr': '<f4', 'fortran_order': False, 'shape': 'x'}",
    "a negative shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
    "a shape of 2^80": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 80},), }}",
    "an empty shape of 2^80 rows": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 80}, 0), }}",
    "8 TiB": "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }",
    "a size of a billion digits": "{'descr': '<f4', 'fortran_order': False, 'shape': ("
    + "9" * 5000
    + ",), }",
    "200 axes": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, " + "1, " * 200 + "), }",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "objects in a record": "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }",
}.items():
    npy_and_nz(
        _title,
        "header|Python objects|damaged|claims|fill|address|axes",
        npy(_header + "\n", bytes(8)),
    )
# Left out by name, as arrays of something other than numbers.
for _title, _header in {
    "a type that is no type": "{'descr': 'evil', 'fortran_order': False, 'shape': (2,), }",
    "a type that nests": "{'descr': "
    + "[('a', " * 50
    + "'<f4'"
    + ")]" * 50
    + ", 'fortran_order': False, 'shape': (2,), }",
}.items():
    nz(_title, INERT, npy(_header + "\n", bytes(8)))
npy_and_nz(
    "a header that claims 4 GiB",
    "damaged|truncated|header",
    npy(_HEAD, bytes(8), version=2, length=0xFFFFFFFF),
)
npy_and_nz("a header of 60 kB", "damaged|header", npy(_HEAD + " " * 60_000 + "\n", bytes(8)))
npy_and_nz(
    "a version of the future", "damaged|version|header", npy(_HEAD + "\n", bytes(8), version=9)
)
nz("no array at all", "damaged|header|truncated", b"")
nz("an array of pickled code", "damaged|header|no NumPy", pickled(call("os.system", _touch)))
npy_and_nz("too few bytes", "fill", npy(_HEAD + "\n", bytes(7)))
npy_and_nz("too many bytes", "fill", npy(_HEAD + "\n", bytes(9)))
case("npz: two arrays of one name", "one name|share a name", make_zip(
    [Entry("w.npy", _NPY), Entry("w.npy", _NPY)]), "a.npz")  # fmt: skip
case("npz: a wrong checksum", "damaged|checksum", make_zip(
    [Entry("w.npy", _NPY, local={"crc": 1}, central={"crc": 1})]), "a.npz")  # fmt: skip
case(
    "npz: an encrypted array",
    "encrypted|damaged",
    make_zip([Entry("w.npy", _NPY, flags=1)]),
    "a.npz",
)
case("npz: an array called ../w", "points out of", make_zip([Entry("../w.npy", _NPY)]), "a.npz")
case("npz: a compressed array", INERT, make_zip([Entry("w.npy", _NPY, method=8)]), "a.npz")
case("npz: compressed data that is none", "damaged", make_zip([Entry(
    "w.npy", _NPY, local={"method": 8}, central={"method": 8})]), "a.npz")  # fmt: skip
case("npz: a bomb that holds more than it says", "damaged|more than|fill", lambda: make_zip([Entry(
    "w.npy", _NPY + bytes(300 << 20), method=8, local={"size": len(_NPY)}, central={"size": len(_NPY)})]),
    "a.npz")  # fmt: skip
case("npz: a bomb that says 8 TiB", "damaged|claims|memory|more than|fill|contradicts", lambda: make_zip([Entry(
    "w.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (250000000,), }\n", bytes(1 << 20)),
    method=8, local={"size": 2_000_000_074}, central={"size": 2_000_000_074})]), "a.npz")  # fmt: skip
case("npz: a bomb of 2 GB of zeros", "memory", lambda: make_zip([_zeros()]), "a.npz")


def _zeros():
    """2 GB of zeros in 2 MB, all of it true."""
    head = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (250000000,), }\n")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed, crc = packer.compress(head), zlib.crc32(head)
    for _ in range(200):
        packed += packer.compress(bytes(10_000_000))
        crc = zlib.crc32(bytes(10_000_000), crc)
    packed += packer.flush()
    sizes = {"size": len(head) + 2_000_000_000, "method": 8, "crc": crc}
    return Entry("w.npy", packed, local=sizes, central=sizes)


# ------------------------------------------------------------- other things of a checkpoint's name


def _tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("storages")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"1234"))
    return buffer.getvalue()


for _title, (_content, _why) in {
    "a PNG image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "format is unknown|image"),
    "a web page": (b"<!DOCTYPE html><html></html>", "web page"),
    "text": (b"step,loss\n1,2\n", "format is unknown"),
    "a tar archive": (_tar(), "tar archive|format is unknown"),
    "a 7z archive": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "format is unknown"),
    "a gzip file": (b"\x1f\x8b\x08" + bytes(100), "format is unknown"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "zeros": (bytes(5000), "zeros"),
    "an executable": (b"\x7fELF" + bytes(100), "format is unknown"),
    "a pickle": (pickled(call("os.system", _touch)), "Python pickle"),
    "a joblib pickle": (b"\x80\x04\x95\x20\0\0\0\0\0\0\0\x8c\x13joblib.numpy_pickle\x94\x8c\x11NumpyArrayWrapper\x94\x93.", "joblib"),
    "a scikit-learn pickle": (b"\x80\x04\x95\x20\0\0\0\0\0\0\0\x8c\x14sklearn.linear_model\x94\x8c\x05Ridge\x94\x93.", "scikit-learn"),
    "a pickle of protocol 0": (b"cos\nsystem\n(S'touch ran'\ntR.", "format is unknown"),
    "JSON": (b'{"a": 1}', "not the index"),
    "a JSON depth bomb": (b'{"a":' * 100_000, "not the index"),
    "a JSON integer bomb": (b'{"weight_map": ' + b"9" * 100_000 + b"}", "not the index"),
}.items():  # fmt: skip
    case(_title, _why, _content)


@case("a FIFO", "neither a file nor a folder|not a regular file")
def _(folder):
    os.mkfifo(folder / "x.pt")
    return folder / "x.pt"


@case("a socket", "neither a file nor a folder|not a regular file|No such device")
def _(folder):
    here = Path.cwd()
    os.chdir(folder)  # paths of sockets must be short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("x.pt")
    finally:
        os.chdir(here)
    return folder / "x.pt"


@case("a loop of links", "cannot be read")
def _(folder):
    (folder / "x.pt").symlink_to(folder / "y.pt")
    (folder / "y.pt").symlink_to(folder / "x.pt")
    return folder / "x.pt"


@case("a link to itself", "cannot be read")
def _(folder):
    (folder / "x.pt").symlink_to(folder / "x.pt")
    return folder / "x.pt"


@case("a link that leads nowhere", "No such file")
def _(folder):
    (folder / "x.pt").symlink_to(folder / "nowhere")
    return folder / "x.pt"


@case("an empty folder named x.pt", "holds no file that is a checkpoint")
def _(folder):
    (folder / "x.pt").mkdir()
    return folder / "x.pt"


@case("a folder named x.pt with a FIFO in it", "holds no file that is a checkpoint")
def _(folder):
    (folder / "x.pt").mkdir()
    os.mkfifo(folder / "x.pt" / "data")
    return folder / "x.pt"


@case("a path that does not exist", "No such file")
def _(folder):
    return folder / "nowhere.pt"


def index(title, why, weight_map, shards=("s1.bin",)):
    @case(title, why)
    def _(folder):
        inner = folder / "inner"
        inner.mkdir()
        (folder / "x.bin").write_bytes(_ZIP)
        for shard in shards:
            (inner / shard).write_bytes(_ZIP)
        (inner / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
        return inner


index("a good shard index, to hold the others against", INERT, {"w": "s1.bin"})
for _shard in (
    "../x.bin",
    "/etc/passwd",
    "..",
    "a/../../x.bin",
    "..\\x.bin",
    "s1.bin\0",
    "",
    "C:x",
):
    index(f"a shard index that names {_shard!r}", "must be files in the folder", {"w": _shard})
index("a shard index that names a number", "must be files in the folder", {"w": 3})
index("a shard index that names a list", "must be files in the folder|names no", {"w": ["s1.bin"]})
index("a shard index that misses a shard", "is missing", {"w": "s1.bin", "v": "s2.bin"})
index("a shard index that names a tensor no shard has", "which it does not", {"v": "s1.bin"})
index("a shard index that names nothing", "names no tensors", {})
index("a shard index that names itself", "not|unknown|JSON", {"w": "pytorch_model.bin.index.json"})
