"""What the name of a class, a label, a domain or a file may be: text that can be shown, stored and put into a prompt.

Any writing system and any symbol may; what is refused has no look of its own, or changes that of its surroundings.
"""

import re
import unicodedata

from mocoop.errors import ConfigError, quoted

SEPARATOR = "|"  # between names in a cell of a csv file; no name of a group may hold it
LONGEST_NAME = 300  # characters; CLIP reads 77 tokens of a whole prompt

_UNSTORABLE = {"Cc": "control character", "Cs": "half of a surrogate pair"}  # by Unicode category
_UNSEEN = {"Zl": "line break", "Zp": "line break"}
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # the direction of writing


def odd_character(text: str, path: bool = False) -> str | None:
    """The first character that no name may have, in words, or None. A path need not be pretty, it is only stored."""
    if text.isprintable():
        return None
    for c in text:
        kind = _UNSTORABLE.get(unicodedata.category(c))
        if not kind and not path:
            kind = "turn of the direction of writing" if c in _TURNING else _UNSEEN.get(unicodedata.category(c))
        if kind:
            return f"the {kind} U+{ord(c):04X}"
    return None


def check_path_word(given: str, word: str) -> None:
    """Raises ConfigError, which says what was `given`, for a word that cannot be a part of paths and commands."""
    if not re.fullmatch(r"\w[\w.+=-]*", word):
        raise ConfigError(f"got {given} {quoted(word)}, expected a word of letters, digits, '_', '-', '.', '+' and '='")


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a class, a label or a domain, in words, or None."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, expected a text"
    if not name.strip("_ \t"):
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"has {len(name)} characters, expected at most {LONGEST_NAME}"
    found = odd_character(name)
    return f"holds {found}" if found else None
