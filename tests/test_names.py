import pytest

from mocoop.names import LONGEST_NAME, name_problem, odd_character

WRITINGS = ["cat", "Fée verte", "猫", "🙂", "👩‍👩‍👧", "{}", "{0!r:>10}", "<b>cat</b>", "%s", "a_b", "שלום", "مرحبا"]


@pytest.mark.parametrize("name", [*WRITINGS, "x" * LONGEST_NAME])
def test_any_writing_is_a_name(name):
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name, problem",
    [
        ("a\nb", "holds the control character U+000A"),
        ("a\0", "holds the control character U+0000"),
        ("\x1b[2J", "holds the control character U+001B"),
        ("gpj\u202eexe", "holds the turn of the direction of writing U+202E"),
        ("a\u2028b", "holds the line break U+2028"),
        ("\ud800", "holds the half of a surrogate pair U+D800"),
        ("", "is empty"),
        ("_ _", "is empty"),
        ("x" * (LONGEST_NAME + 1), "has 301 characters, expected at most 300"),
        (7, "is a int, expected a text"),
    ],
)
def test_what_is_no_name(name, problem):
    assert name_problem(name) == problem


def test_odd_characters():
    assert odd_character("fine") is None and odd_character("a\x85b") == "the control character U+0085"
