"""The tables that judge a router."""

import math

import pandas as pd
import pytest

from mocoop.errors import DataError
from mocoop.report.content import TableBlock
from mocoop.report.routing_section import MISSING, router_blocks
from mocoop.results.record import ROUTERS, validate_record
from tests.results.runs import make_record, make_routing


def routing(own, style=None):
    accuracy = dict.fromkeys(ROUTERS, 50.0) | {"router": own, "style": style}
    return make_routing(["photo", "dark"], 1, None) | {
        "routers": {"load": [own, 100 - own], "agreement": 60.0, "accuracy": accuracy}
    }


def frame(*runs):
    return pd.DataFrame([("dtd", *run) for run in runs], columns=["dataset", "phase", "routing"])


def test_means_and_spread_over_seeds_and_a_gap_where_no_style_is_known():
    runs = pd.DataFrame(
        [
            ("dtd", "train_base", routing(70.0)),
            ("dtd", "train_base", routing(80.0)),
            ("dtd", "test_new", routing(40.0)),
            ("dtd", "test_new", routing(40.0)),
        ],
        columns=["dataset", "phase", "routing"],
    )
    routers, load = router_blocks(runs, [1, 2])
    assert isinstance(routers, TableBlock) and [row[1] for row in routers.table.rows] == ["base classes", "new classes"]
    own = routers.table.rows[0][routers.table.columns.index("Own router")]
    assert own.mean == 75 and own.spread == pytest.approx(math.sqrt(50))
    assert math.isnan(routers.table.rows[0][routers.table.columns.index("True style")].mean)
    assert [row[0] for row in load.table.rows] == ["photo", "dark"] and load.table.rows[1][2].mean == 60


def test_a_missing_seed_is_a_gap():
    runs = frame(("train_base", routing(70.0)), ("train_base", routing(80.0)), ("test_new", routing(40.0)))
    routers, load = (block.table for block in router_blocks(runs, [1, 2]))
    assert [math.isnan(row[2].mean) for row in routers.rows] == [False, True]
    assert all(math.isnan(new.mean) and not math.isnan(base.mean) for _, base, new in load.rows)


def test_runs_of_earlier_versions_are_said_to_lack_it():
    runs = pd.DataFrame(
        [("dtd", "test_new", make_routing(["photo"], 1, None))], columns=["dataset", "phase", "routing"]
    )
    assert router_blocks(runs, [1])[0].text == MISSING


@pytest.mark.parametrize("change", [{"load": [1.0]}, {"load": ["a", "b"]}, {"accuracy": {}}, {"agreement": "much"}])
def test_a_record_with_damaged_numbers_is_refused(change):
    whole = routing(70.0)
    validate_record(make_record(routing=whole), "here")
    with pytest.raises(DataError, match="here: routing: "):
        validate_record(make_record(routing=whole | {"routers": whole["routers"] | change}), "here")
