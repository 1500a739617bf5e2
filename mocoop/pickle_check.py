"""Looking through a pickle before it is read.

The readers here name what a pickle may build, so that nothing of it can run. Two ways are left in which one can bring
the whole process down: a memo index so large that room for it takes all memory, and tuples nested so deeply that
hashing them overruns the stack. Both show in the opcodes alone.
"""

import pickle
import pickletools
from typing import IO

DEEPEST = 100  # containers within containers
SPARE_MEMOS = 1 << 16  # how far a memo index may be ahead of the opcodes

_MARK = pickletools.markobject
_MEMO_WRITE = ("PUT", "BINPUT", "LONG_BINPUT")
_MEMO_READ = ("GET", "BINGET", "LONG_BINGET")
_IN_PLACE = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")


def check_pickle(stream: IO[bytes] | bytes) -> None:
    """Follow the opcodes of a pickle to its STOP, building nothing; a file is left behind the pickle's end.

    Raises pickle.UnpicklingError for damage, and for a memo index or nesting out of all bounds.
    """
    depths: list[int | None] = []  # of each value on the stack; None is a mark
    memo: dict[int, int] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if opcode.name in _MEMO_WRITE and not 0 <= argument <= count + SPARE_MEMOS:
                raise pickle.UnpicklingError(f"it has the memo index {argument} after {count} opcodes")
            _follow(opcode, argument, depths, memo)
    except (ValueError, LookupError, TypeError, OverflowError, MemoryError) as error:
        raise pickle.UnpicklingError(f"it is damaged ({error})") from error


def _follow(opcode, argument, depths: list[int | None], memo: dict[int, int]) -> None:
    """What an opcode does to the depths on the stack and in the memo."""
    if opcode.name == "MEMOIZE":
        memo[len(memo)] = depths[-1] or 0
    elif opcode.name in _MEMO_WRITE:
        memo[argument] = depths[-1] or 0
    elif opcode.name in _MEMO_READ:
        depths.append(memo[argument])
    elif opcode.name == "DUP":
        depths.append(depths[-1])
    elif opcode.name == "MARK":
        depths.append(None)
    else:
        taken = _take(depths, opcode.stack_before)
        depth = 1 + max(taken, default=-1)
        if opcode.name in _IN_PLACE:  # the container lay below what goes into it
            depth = max(taken[-1], 1 + max(taken[:-1], default=-1))
        if opcode.stack_after and depth > DEEPEST:
            raise pickle.UnpicklingError(f"it is nested more than {DEEPEST} deep")
        depths.extend(depth for _ in opcode.stack_after)


def _take(depths: list[int | None], wanted: list) -> list[int]:
    """Remove what an opcode takes from the stack: its depths from the top down."""
    taken = []
    if _MARK in wanted:  # all above the mark; what is wanted besides lies below it, but for OBJ's class
        while (value := depths.pop()) is not None:
            taken.append(value)
        wanted = wanted[: wanted.index(_MARK)]
    return taken + [depths.pop() or 0 for _ in wanted]
