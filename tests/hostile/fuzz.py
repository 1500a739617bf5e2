"""What the fuzz tests share: ways to spoil a good file, and the one property that all readers have.

Whatever a file holds, either a value comes out or a MocoopError of one line; never another exception, never a hang,
never a path outside of the folder. With MOCOOP_FUZZ=deep thousands of files are tried instead of dozens.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mocoop.errors import MocoopError
from tests.counts import count

LONGEST = 500  # characters of a message that names one fault

_COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("quick", max_examples=25, derandomize=True, **_COMMON)
settings.register_profile("deep", max_examples=3000, **_COMMON)
FUZZ = settings.get_profile("deep" if os.environ.get("MOCOOP_FUZZ") == "deep" else "quick")

odd_text = st.text(max_size=30) | st.sampled_from(
    ["", "..", "../x", "/etc/passwd", "a\nb", "\0", "\x1b[2J", "\u202e", "\ud800", "{}", "{0}", "%s", "<b>", "x" * 5000]
)
odd_number = st.sampled_from([-1, 0, 1, 2**31, 2**63, 10**40, 1.5, 1e308, True, None]) | st.integers() | st.floats()
odd_json = st.recursive(
    odd_number | odd_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_text, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def spoiled(draw, whole: bytes, near: tuple[int, ...] = ()) -> bytes:
    """`whole` with a few bytes changed, put in or taken out, or cut short; `near` are places of interest."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        if near and draw(st.booleans()):
            place = min(len(content), draw(st.sampled_from(near)) + draw(st.integers(0, 64)))
        new = draw(st.binary(max_size=8) | st.sampled_from([b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"../", b"."]))
        match draw(st.sampled_from(["change", "change", "insert", "remove", "cut"])):
            case "change":
                content[place : place + len(new)] = new
            case "insert":
                content[place:place] = new
            case "remove":
                del content[place : place + len(new)]
            case "cut":
                del content[max(place, 1) :]
    return bytes(content)


@st.composite
def spoiled_json(draw, whole) -> object:
    """A JSON value with one value in it replaced, removed or doubled."""
    value = odd_json if not isinstance(whole, (dict, list)) or not whole else None
    if value is not None or draw(st.integers(0, 5)) == 0:
        return draw(odd_json)
    keys = list(whole) if isinstance(whole, dict) else range(len(whole))
    key = draw(st.sampled_from(list(keys)))
    changed = whole.copy()
    if draw(st.integers(0, 5)) == 0:
        del changed[key]
    else:
        changed[key] = draw(spoiled_json(whole[key]))
    return changed


def value_or_refusal(kind: str, read, *arguments, longest: int = LONGEST):
    """What `read` returns, or None where it refuses as it should."""
    try:
        value = read(*arguments)
    except MocoopError as error:
        message = str(error)
        assert message and message.isprintable() and len(message) <= longest, message[: 2 * longest]
        count("fuzzed", kind, refused=1)
        return None
    count("fuzzed", kind, read=1)
    return value
