"""DATASETS.md says what sources.json and the dataset classes say."""

import re
from pathlib import Path

from mocoop.checkout import import_datasets
from mocoop.data.sources import load_sources

TEXT = Path(__file__).parents[1].joinpath("DATASETS.md").read_text(encoding="utf-8")


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows() -> dict[str, list[str]]:
    lines = [line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("| [")]
    return {cells[1].strip(): [cell.strip() for cell in cells] for cells in lines}


def test_the_table_has_the_counts_of_the_sources():
    table = rows()
    assert set(table) == set(load_sources())
    for name, source in load_sources().items():
        counts = [source.counts.get(split) for split in ("train", "val", "test")]
        assert table[name][3] == str(source.classes)
        assert table[name][4:] == ["–" if count is None else f"{count:,}" for count in counts], name
        assert Path(f"configs/datasets/{table[name][2]}.yaml").read_text().count(f'NAME: "{name}"') == 1


def test_every_dataset_has_a_section_with_source_license_layout_command_and_traps():
    registry, found = import_datasets(), sections()
    for name, cells in rows().items():
        title, anchor = re.fullmatch(r"\[(.+)\]\(#(.+)\)", cells[0]).groups()
        section, dataset_class = found[title], registry.get(name)
        assert anchor == title.lower().replace(" ", "-")
        command = f"`mocoop datasets prepare {name}`"
        for part in ("- Source: ", "License: ", "- You get ", "Traps: ", command, "\n```\n"):
            assert part in section, (name, part)
        assert f"\n{dataset_class.dataset_dir}/" in section and dataset_class.image_dir in section
        assert dataset_class.split_file in section


def test_no_line_is_too_long():
    assert max(map(len, TEXT.splitlines())) <= 135
