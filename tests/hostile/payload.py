"""Pickles that would run code when read, each by another way."""

import builtins
import os
import pickle
import subprocess
from functools import partial

from tests.hostile.corpus import CANARY

TOUCH = f"touch {CANARY}"


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


PAYLOADS = {
    "os.system": Call(os.system, TOUCH),
    "eval": Call(builtins.eval, f"open({CANARY!r}, 'w')"),
    "exec": Call(builtins.exec, f"open({CANARY!r}, 'w')"),
    "a call within a call": Call(getattr, Call(__import__, "os"), "system"),
    "a process": Call(subprocess.Popen, ["touch", CANARY]),
    "a partial": Call(partial(os.system, TOUCH)),
    "a folder": Call(os.mkdir, CANARY),
    "pickle within a pickle": Call(pickle.loads, pickle.dumps(Call(os.system, TOUCH), 2)),
}

# Written by hand: what pickle itself does not write.
RAW = {
    "old opcode INST": f"(S'{TOUCH}'\nios\nsystem\n.".encode(),
    "old opcode OBJ": f"(cos\nsystem\nS'{TOUCH}'\no.".encode(),
    "name in parts": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(TOUCH)]) + TOUCH.encode() + b"\x85R.",
    "extension registry": b"\x80\x02\x82\x01.",
    "persistent id": b"\x80\x02Pos.system\n.",
    "length beyond the file": b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00.",
    "no end": b"\x80\x02}",
    "empty": b"",
    "text": b"not a pickle",
}
