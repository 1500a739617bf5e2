import pytest

from mocoop.results.by_protocol import seeds_table
from mocoop.results.collect import collect
from mocoop.results.paired import seeds_needed
from tests.results.runs import add_base_new


def test_seeds_follow_the_pooled_deviation_of_what_learns(tmp_path):
    add_base_new(tmp_path, {1: 80.0, 2: 81.0, 3: 82.0}, {1: 60.0, 2: 60.0, 3: 60.0}, dataset="dtd")
    add_base_new(tmp_path, {1: 80.0, 2: 82.0, 3: 84.0}, {1: 60.0, 2: 60.0, 3: 60.0}, dataset="dtd", method="MoCoOp")
    add_base_new(tmp_path, {1: 70.0, 2: 70.0, 3: 70.0}, {1: 60.0}, dataset="dtd", method="ZeroshotCLIP", shots=0)
    table = seeds_table(collect(tmp_path).frame, "base2new")
    assert table.columns == ["Dataset", "Base", "New", "H"]
    deviation = ((1.0 + 4.0) / 2) ** 0.5
    assert table.rows[0][:3] == ["dtd", f"{seeds_needed(deviation)} ({deviation:.2f})", "2 (0.00)"]


@pytest.mark.parametrize("seeds", [{1: 80.0}, {}])
def test_one_seed_says_nothing(tmp_path, seeds):
    add_base_new(tmp_path, seeds or {1: 1.0}, seeds)
    assert seeds_table(collect(tmp_path).frame, "base2new") is None
