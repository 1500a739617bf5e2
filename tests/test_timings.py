"""Seconds by part: each counts once, and all of them add up to the whole."""

import json
import subprocess
import sys
import time

import pytest

from mocoop import timings
from mocoop.results.record import read_record
from mocoop.timings import timed, waits


@pytest.fixture(autouse=True)
def begun():
    timings.begin()
    timings.begin()  # of a process's first run the start would be in


def test_parts_add_up_and_inner_ones_count_for_themselves():
    before = time.perf_counter()
    timings.begin()
    started = time.perf_counter()
    with timed("tests"):
        time.sleep(0.02)
        with timed("decoding"):
            time.sleep(0.04)
        time.sleep(0.02)
    time.sleep(0.02)
    least, found = time.perf_counter() - started, timings.so_far()
    assert least - 0.001 <= sum(found.values()) <= time.perf_counter() - before + 0.001
    assert found["decoding"] >= 0.04 and found["tests"] >= 0.04 and found["other"] >= 0.02


def test_an_error_leaves_the_part():
    with pytest.raises(ValueError), timed("steps"):
        raise ValueError
    before = timings.so_far()["steps"]
    time.sleep(0.01)
    assert timings.so_far()["steps"] == before


def test_waiting_counts_and_what_is_done_with_the_items_does_not():
    def slow():
        for number in range(3):
            time.sleep(0.01)
            yield number

    found = []
    for number in waits("loader", slow()):
        found.append(number)
        time.sleep(0.02)
    assert found == [0, 1, 2]
    seconds = timings.so_far()
    assert 0.03 <= seconds["loader"] < 0.06 <= seconds["other"]


def test_the_first_run_of_a_process_has_its_start_and_others_have_not():
    code = """
import json, time
from mocoop import timings
with timings.timed("imports"):
    time.sleep(0.05)
timings.begin()
first = timings.so_far()
timings.begin()
print(json.dumps([first, timings.so_far()]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = json.loads(done.stdout)
    assert first["start"] > 0.005 and 0.05 <= first["imports"] < 2
    assert set(second) == {"other"}


def test_it_costs_next_to_nothing():
    started = time.perf_counter()
    for _ in range(10_000):
        with timed("steps"):
            pass
    assert time.perf_counter() - started < 0.5  # 50 microseconds each; a few hundred nanoseconds on a quiet machine


def test_a_run_records_its_parts(runs):
    record = read_record(runs.reference("CoOp") / "result.json")
    parts = record["timings"]
    expected = {
        "data",
        "CLIP",
        "method",
        "first batch",
        "first steps",
        "steps",
        "tests",
        "decoding",
        "writing",
        "other",
    }
    assert expected <= set(parts) and all(seconds >= 0 for seconds in parts.values())
    trained = parts["first batch"] + parts.get("loader", 0.0) + parts["first steps"] + parts["steps"]
    assert 0 < trained <= record["seconds"]["train"] + 0.01
    assert parts["tests"] + parts["decoding"] <= record["seconds"]["test"] + 0.01
