"""Records of runs and the tables beside them."""

import json

from tests.hostile.tables import BROKEN_JSON, BROKEN_TEXT
from tests.results.runs import make_record

HISTORY = "step,epoch,lr,loss,acc\n1,1,0.002,0.5,90\n"
PREDICTIONS = "path,label,prediction,confidence,domain,experts,gates\na.jpg,0,1,0.9,photo,a|b,0.7|0.3\n"


def add_entries(add) -> None:
    good = make_record()
    for name, changes in {
        "format of tomorrow": {"format": 2},
        "format a text": {"format": "x" * 10**5},
        "status unknown": {"status": "\x1b[31mdone"},
        "status a list": {"status": ["done"]},
        "shots a text": {"shots": "16"},
        "shots a truth": {"shots": True},
        "metrics a list": {"metrics": [1]},
        "accuracy of 101": {"metrics": {"accuracy": 101}},
        "accuracy of 10^400": {"metrics": {"accuracy": 10**400}},
        "accuracy a text": {"metrics": {"accuracy": "<b>99</b>"}},
        "a metric of 100,000 letters": {"metrics": {"x" * 10**5: -1}},
        "accuracy a truth": {"metrics": {"accuracy": True}},
        "classes of numbers": {"per_class": [1, 2]},
        "classes without names": {"per_class": [{"label": 0}]},
        "classes counted in text": {"per_class": [{"label": 0, "classname": "a", "total": "1", "correct": "1"}]},
        "routing a list": {"routing": [1]},
        "routing empty": {"routing": {}},
        "config a text": {"config": "x"},
        "seconds a list": {"seconds": [1]},
    }.items():
        add("result", name, json.dumps({**good, **changes}))
    for name, content in BROKEN_JSON.items():
        add("result", name, content)
    text = json.dumps(good)
    add("result", "no number", text.replace('"accuracy": 50.0', '"accuracy": NaN', 1))
    add("result", "a field missing", json.dumps({key: value for key, value in good.items() if key != "config"}))
    _tables(add)


def _tables(add) -> None:
    for kind, good in {"history": HISTORY, "predictions": PREDICTIONS}.items():
        for name, content in BROKEN_TEXT.items():
            add(kind, name, content)
        row = good.splitlines()[1]
        add(kind, "other columns", "a,b\n1,2\n")
        add(kind, "a row too long", good + row + ",7,8,9\n")
        add(kind, "a text for a number", good + row.replace("1", "one"))
        add(kind, "an open quote", good + '"' + row + "\n" + row)
    add("history", "a step of 10^400", HISTORY + "1" + "0" * 400 + ",1,0.1,0.5,90\n")
    add("history", "a step that is no number", HISTORY + "nan,1,0.1,0.5,90\n")
    add("predictions", "a gate that is no number", PREDICTIONS.replace("0.7", "x"))
    add("predictions", "a label that is no number", PREDICTIONS.replace(",0,1,", ",nan,1,"))
