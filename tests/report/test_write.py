"""The page as a browser gets it, read by Python's HTML parser."""

import base64
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from mocoop.errors import ConfigError, DataError
from mocoop.report import write_report
from mocoop.report.write import row_groups
from mocoop.results.render import Cell, Table
from tests.results.routed import ROUTING, add_routed_run, counted
from tests.results.runs import add_base_new, add_run

HOSTILE = '<img src=x onerror="alert(1)">&amp;</td>'
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """tags: (name, attributes) in order. text: all text outside of style. balanced: whether every element is closed."""

    def __init__(self, source: str):
        super().__init__()
        self.tags, self.parts, self.open, self.balanced = [], [], [], True
        self.feed(source)
        self.text = " ".join("".join(self.parts).split())
        self.balanced = self.balanced and not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.balanced = self.balanced and bool(self.open) and self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.parts.append(data + " ")

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def add_tree(root):
    """Base to new with a gap, a further configuration and routing; few-shot; transfer; a broken run."""
    for dataset in ("a", "b"):
        for seed, shift in ((1, -1.0), (2, 1.0)):
            same = {"dataset": dataset, "seed": seed, "per_class": counted()}
            add_run(root, 84.24 + shift, **same)
            add_run(root, 75.67 + shift, phase="test_new", **same)
            for phase, accuracy in (("train_base", 90.0), ("test_new", 60.0)):
                where = {"phase": phase, "dataset": dataset, "seed": seed, "history": phase == "train_base"}
                add_routed_run(root, accuracy + shift, **where)
    variant = {"dataset": "b", "method": "MoCoOp", "cfg": "tiny_dense", "per_class": counted()}
    add_base_new(root, {1: 50.0, 2: 50.0}, {1: 50.0, 2: 50.0}, **variant)
    for shots in (1, 2):
        add_run(root, 40.0 + shots, protocol="few_shot", phase="train_all", dataset="a", shots=shots)
    add_run(root, 70.0, protocol="xd", phase="train", dataset="a")
    add_run(root, 55.0, protocol="dg", phase="test", dataset="a_dark")
    broken = root / "base2new/test_new/b/shots_16/CoOp/tiny/seed2/result.json"
    broken.write_text("{")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("report") / "results"
    add_tree(root)
    path = write_report(root, similarity=False)
    assert path == root / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_nothing_is_loaded_and_nothing_runs(source, page):
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert len(addresses) > 10
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    style = re.search("<style>(.*?)</style>", source, re.S).group(1)
    assert "url(" not in style and "@import" not in style
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_every_element_is_closed_and_every_link_has_its_place(page):
    assert page.balanced
    places = {attributes.get("id") for _, attributes in page.tags}
    assert all(link["href"][1:] in places for link in page.all("a"))


def test_the_head_says_what_the_report_is_about_and_terms_are_explained(page):
    assert "Results of results" in page.text
    assert "2 methods · 3 datasets · seeds 1, 2" in page.text
    assert "Few-shot learning: highest accuracy on a: CoOp, 2 shots 42.00" in page.text
    for term in ("H", "base, new", "shots", "seed", "routing", "gate weights", "source, target"):
        assert f" {term} " in page.text


def test_tables_hold_the_numbers_with_their_spread_and_gaps_are_named(source, page):
    assert "84.24 ± 1.41" in page.text and "75.67 ± 1.41" in page.text and "79.73 ± 1.42" in page.text
    assert '<td class="number rank1">90.00 ± 1.41</td>' in source
    assert '<td class="number rank2">84.24 ± 1.41</td>' in source
    assert "Underlined: the second highest." in page.text
    assert '<td class="number gap">–</td>' in source
    assert "b, CoOp: no new result for seed 2" in page.text
    assert "1 run is left out." in page.text
    assert "base2new/test_new/b/shots_16/CoOp/tiny/seed2" in page.text.partition("and why.")[2]
    main, _, further = page.text.partition("Further configurations.")
    assert "tiny_dense" not in main and "MoCoOp tiny_dense" in further


def test_every_section_and_figure_says_what_it_shows(page):
    for title in ("Base to new classes", "Few-shot learning", "Domain generalization", "Training"):
        assert title in page.text
    pictures = page.all("img")
    assert len(pictures) >= 8
    for picture in pictures:
        assert len(picture["alt"]) > 40
        head, _, content = picture["src"].partition(",")
        decoded = base64.b64decode(content, validate=True)
        assert decoded.startswith(b"<?xml" if "svg" in head else b"\x89PNG")
    for name in ("New against base.", "Experts by style.", "Experts by class: a, base classes.", "Gate entropy."):
        assert name in page.text
    assert "mocoop report --root says where the data is. a: none of its images was found" in page.text


@pytest.fixture
def unpainted(monkeypatch):
    """Figures are made, and what they look like is not."""
    monkeypatch.setattr("mocoop.report.content.write_figure", lambda figure, file, suffix: file.write(b"<?xml/>"))


def test_published_numbers_stand_beside_ours_where_there_are_any(tmp_path, unpainted, page):
    add_base_new(tmp_path, {1: 76.0}, {1: 68.0}, dataset="imagenet", backbone="ViT-B/16")
    text = Page(write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "Beside published numbers." in text and "76.47" in text and "Base (publ.)" in text
    assert "Beside published numbers." not in page.text


def test_names_and_settings_from_files_stay_text(tmp_path, unpainted):
    choices = [(0, 0, HOSTILE, (HOSTILE, "b"), (0.75, 0.25))]
    routing = ROUTING | {"groups": [HOSTILE, "b"], "chosen": [100.0, 100.0]}
    routing |= {"chosen_by_domain": {HOSTILE: [100.0, 0.0]}}
    folder_name = HOSTILE.replace("/", "")
    folder = add_routed_run(tmp_path, classnames=[HOSTILE], choices=choices, routing=routing, dataset=folder_name)
    record = json.loads((folder / "result.json").read_text())
    record["config"]["OPTIM"]["NAME"] = record["versions"]["torch"] = record["backbone"] = HOSTILE
    (folder / "result.json").write_text(json.dumps(record))
    (tmp_path / f"base2new/train_base/{folder_name}/shots_16/MoCoOp/tiny/seed2").mkdir()
    page = Page(write_report(tmp_path, similarity=False).read_text(encoding="utf-8"))
    assert page.balanced
    assert all(picture["src"].startswith("data:image/") for picture in page.all("img"))
    assert not [name for _, attributes in page.tags for name in attributes if name == "onerror"]
    assert page.text.count(" ".join(HOSTILE.split())) >= 3
    assert f"{folder_name}/shots_16/MoCoOp/tiny/seed2" in page.text


@pytest.fixture
def small(tmp_path):
    add_run(tmp_path, 50.0, protocol="few_shot", phase="train_all")
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """What is replaced does not depend on what is in it."""
    monkeypatch.setattr("mocoop.report.write.gather", lambda *_: [])


def test_only_our_own_report_is_replaced_unasked(small, undrawn):
    default = small / "report.html"
    write_report(small)
    first = default.stat().st_mtime_ns
    write_report(small)
    assert default.stat().st_mtime_ns > first
    default.write_text("<html>mine</html>")
    with pytest.raises(ConfigError, match="report.html exists and is not overwritten; name another file"):
        write_report(small)
    assert default.read_text() == "<html>mine</html>"
    write_report(small, force=True)
    assert "mocoop report" in default.read_text()


def test_another_file_is_replaced_only_when_asked(small, undrawn):
    other = small / "other.html"
    write_report(small, other)
    with pytest.raises(ConfigError, match="other.html exists and is not overwritten"):
        write_report(small, other)
    write_report(small, other, force=True)
    with pytest.raises(ConfigError, match="is a folder"):
        write_report(small, small, force=True)


def test_figures_are_written_as_pdf_too(small, monkeypatch):
    write_report(small, figures=small / "figures")
    assert [path.name for path in (small / "figures").iterdir()] == ["few_shot-few-shot-curves.pdf"]
    assert (small / "figures/few_shot-few-shot-curves.pdf").read_bytes().startswith(b"%PDF")
    refusal = "figures holds files already; name an empty or a new folder, or pass --force"
    with pytest.raises(ConfigError, match=refusal):
        write_report(small, figures=small / "figures")
    with pytest.raises(ConfigError, match="report.html is a file, expected a folder to write to"):
        write_report(small, figures=small / "report.html", force=True)
    monkeypatch.setattr("mocoop.report.write.gather", lambda *_: [])
    write_report(small, figures=small / "figures", force=True)


def test_images_below_the_data_root_are_shown(tmp_path, unpainted):
    add_routed_run(tmp_path / "output")
    (tmp_path / "data/set").mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "data/set/image00.png")
    path = write_report(tmp_path / "output", data_root=tmp_path / "data", similarity=False)
    page = Page(path.read_text(encoding="utf-8"))
    assert "Images by expert: shapes_both." in page.text and "6 of 8 were not found." in page.text


def test_nothing_to_report_writes_nothing(tmp_path):
    with pytest.raises(DataError, match="no finished run"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_rows_are_grouped_by_their_first_label():
    cell = Cell(1.0)
    table = Table("t", ["", "", ""], [["a", "x", cell], ["a", "y", cell], ["b", "x", cell], None, ["b", "z", cell]])
    groups = [[row[:2] for row in rows] for rows in row_groups(table)]
    assert groups == [[["a", "x"], ["a", "y"]], [["b", "x"]], [["b", "z"]]]
    assert len(row_groups(Table("t", ["", ""], [["a", cell], ["b", cell]]))) == 1
