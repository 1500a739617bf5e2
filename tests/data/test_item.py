import pytest

from mocoop.data.item import Item, Splits, check_labels, class_names, code_like_names, same_texts, subsample_classes
from mocoop.errors import ConfigError, DataError
from tests.data.toy import CLASSES, ToySet, make_cfg, make_splits, make_tree

SPLITS = make_splits("/i", sizes=(2, 1, 3))


def test_names_come_in_label_order_and_every_data_set_says_which_are_one_text_to_clip(tmp_path, caplog):
    assert class_names(SPLITS.train[::-1], "toy") == list(CLASSES)
    names = ["cat", "CAT", "sea_eagle", "sea eagle", "Sea Eagle", "dog", "a&amp;b", "a&b"]
    assert same_texts(names) == [
        "classes that are one text to CLIP, which cannot tell them apart: 'cat' and 'CAT'; 'sea_eagle' and 'sea eagle' "
        "and 'Sea Eagle'; 'a&amp;b' and 'a&b'"
    ]
    assert same_texts(["cat", "cats", "sea-eagle", "sea eagle"]) == []
    ToySet(make_cfg(make_tree(tmp_path, classes=("Ant", "ant", "bee"))))
    assert "ToySet: classes that are one text to CLIP, which cannot tell them apart: 'Ant' and 'ant'" in caplog.text


def test_base_is_the_first_half_rounded_up_and_new_the_rest():
    base, new = subsample_classes(SPLITS, "base"), subsample_classes(SPLITS, "new")
    for part in range(3):
        assert {i.classname: i.label for i in base[part]} == {"ant": 0, "bee": 1, "cat": 2}
        assert {i.classname: i.label for i in new[part]} == {"dog": 0, "elk": 1}
        assert sorted(i.impath for i in base[part] + new[part]) == sorted(i.impath for i in SPLITS[part])
    assert subsample_classes(SPLITS, "all") == subsample_classes(SPLITS, "base+new") == SPLITS
    items = [Item(f"/i/{n}", label, CLASSES[label], domain=n) for n, label in enumerate([4, 0, 3, 1, 2, 4, 3])]
    new = subsample_classes(Splits(items, None, items), "new")  # order and domain are kept
    assert [(i.label, i.domain) for i in new.train] == [(1, 0), (0, 2), (1, 5), (0, 6)] and new.val is None
    with pytest.raises(ConfigError, match="SUBSAMPLE_CLASSES.*'old'.*all, base, new, base\\+new"):
        subsample_classes(SPLITS, "old")


@pytest.mark.parametrize(
    "items, message",
    [
        ([], "no training image"),
        ([Item("a", 0, "x"), Item("b", 0, "y")], "'x' and 'y'"),
        ([Item("a", 0, "x"), Item("b", 2, "y")], "label 1"),
    ],
)
def test_labels_that_cannot_be_columns_are_refused(items, message):
    with pytest.raises(DataError, match=message):
        class_names(items, "toy")


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize(
    "changes, message",
    [
        ({"label": 9}, "of label 9, expected labels that are trained on, 0 to 4"),
        ({"label": -1}, "of label -1, expected labels"),
        ({"classname": "wasp"}, "label 1 is called 'bee' in train and 'wasp' in "),
    ],
)
def test_classes_that_are_only_tested(part, changes, message):
    splits = make_splits("/i")
    names = class_names(splits.train, "toy")
    check_labels(splits, names, "toy")
    item = next(item for item in splits.test if item.label == 1)._replace(**changes)
    with pytest.raises(DataError, match=f"^toy: .*{message}"):
        check_labels(splits._replace(**{part: [item]}), names, "toy")


@pytest.mark.parametrize("name", ["a\nb", "x" * 301, "", "\ud800", "\u202ea"])
def test_a_name_that_is_none_is_refused(name):
    items = [Item("/i/0.jpg", 0, "fine"), Item("/i/1.jpg", 1, name)]
    with pytest.raises(DataError, match="toy: the name of label 1") as caught:
        class_names(items, "toy")
    assert str(caught.value).isprintable()


def test_names_like_codes_get_a_hint():
    codes = ["n02085620-Chihuahua", "001.Black_footed_Albatross", "10", "c3", "class_7", "n01440764"]
    (line,) = code_like_names(["dog", *codes])
    assert line.startswith("class names that look like codes (6 of 7)")
    assert "give them names such as 'Chihuahua' by a csv" in line
    names = ["dog", "boeing 747", "sea eagle", "Fée verte", "A380 at night", "2 dogs", "2012 Acura"]
    assert code_like_names(names) == []
