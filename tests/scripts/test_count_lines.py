import subprocess
import sys

from tests.scripts.checkout import REPOSITORY

FILES = {
    "mocoop/a.py": "1\n2\n3\n",
    "mocoop/console.py": "1\n",
    "mocoop/clip/b.py": "1\n2\n",
    "tests/clip/test_b.py": "1\n2\n3\n4\n",
    "train.py": "1\n",
    ".venv/lib/c.py": "1\n" * 100,
    "mocoop/notes.txt": "1\n" * 100,
}


def test_lines_are_counted_by_folder_and_what_was_added_apart(tmp_path):
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    script = [sys.executable, str(REPOSITORY / "scripts/count_lines.py"), str(tmp_path)]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    rows = {line[:32].strip(): line[32:].split() for line in printed.splitlines()}
    assert rows["Python outside tests"] == ["7", "1", "6"]
    assert rows["tests"] == ["4", "0", "4"]
    assert rows["files in mocoop/"] == ["3", "1", "2"]
    assert rows["mocoop"] == ["4", "1", "3"] and rows["mocoop/clip"] == ["2", "0", "2"]
    assert rows["console"] == ["1", "0"]
