import math

import pytest

from mocoop.results.routing import chance_in_top_k, gate_entropies, summarise_routing

GROUPS = ["photo", "sketch", "dark"]


def test_shares_are_counted_per_expert_and_style():
    chosen = [[0, 1], [1, 0], [2, 0], [1, 2]]
    routing = summarise_routing(GROUPS, chosen, [[0.5, 0.5]] * 4, [0, 1, 0, 1], ["photo", "sketch"])
    assert routing["groups"] == GROUPS and routing["top_k"] == 2
    assert routing["chosen"] == [75.0, 75.0, 50.0]
    assert routing["chosen_by_domain"] == {"photo": [100.0, 50.0, 50.0], "sketch": [50.0, 100.0, 50.0]}
    assert routing["domain_in_top_k"] == 100.0


def test_styles_without_a_group_are_left_out_of_the_hit_rate():
    chosen = [[0, 1], [1, 2], [0, 1]]
    routing = summarise_routing(GROUPS, chosen, [[1.0, 0.0]] * 3, [0, 0, 1], ["dark", "painting"])
    assert routing["domain_in_top_k"] == 50.0
    assert "painting" in routing["chosen_by_domain"]


def test_a_style_without_images_has_no_row():
    routing = summarise_routing(GROUPS, [[0]], [[1.0]], [0], ["photo", "dark"])
    assert list(routing["chosen_by_domain"]) == ["photo"]


def test_without_styles_there_is_no_hit_rate():
    routing = summarise_routing(GROUPS, [[0, 2]], [[0.3, 0.7]])
    assert routing["domain_in_top_k"] is None and routing["chosen_by_domain"] == {}


def test_gate_entropy_runs_from_zero_to_ln_k():
    assert summarise_routing(GROUPS, [[0, 1]], [[1.0, 0.0]])["gate_entropy"] == 0.0
    assert summarise_routing(GROUPS, [[0, 1]], [[0.5, 0.5]])["gate_entropy"] == pytest.approx(math.log(2))


def test_every_image_has_its_entropy():
    entropies = gate_entropies([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0]])
    first = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert entropies.tolist() == pytest.approx([first, math.log(2), 0.0])


def test_chance_is_k_of_e():
    assert chance_in_top_k({"groups": GROUPS, "top_k": 2}) == pytest.approx(200 / 3)
