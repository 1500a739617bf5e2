import pickle

import pytest

from mocoop.errors import LONGEST, ConfigError, DataError, MocoopError, one_line, quoted, reason_of


def test_what_prints_stays_as_it_is():
    text = 'Fée verte/photo nº 1.jpg: got "猫", expected 🙂'
    assert str(DataError(text)) == text


@pytest.mark.parametrize(
    "hostile, shown",
    [
        ("a\nb\r\n c\td", "a b c d"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("nul\0", "nul\\x00"),
        ("gpj\u202eexe", "gpj\\u202eexe"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_what_does_not_print_is_written_out(hostile, shown):
    assert str(ConfigError(hostile)) == shown
    shown.encode("utf-8")


def test_a_long_message_keeps_its_ends_and_quotes_are_short():
    text = str(DataError("split.json: got " + "x" * 10**6 + ", expected a path"))
    assert len(text) == LONGEST and text.startswith("split.json: got xx") and text.endswith("xx, expected a path")
    assert quoted("cat") == "'cat'" and quoted(3) == "3"
    assert len(quoted("y" * 10**6)) == 80 and len(quoted(list(range(10**4)))) == 80
    assert len(one_line("z" * 999, 160)) == 160


def test_a_reason_without_words_is_the_errors_name_and_errors_travel_between_processes():
    assert reason_of(RecursionError()) == "RecursionError" and reason_of(ValueError("a\nb")) == "a b"
    error = pickle.loads(pickle.dumps(DataError("a\nb")))
    assert isinstance(error, MocoopError) and str(error) == "a b" and error.args == ("a\nb",)
