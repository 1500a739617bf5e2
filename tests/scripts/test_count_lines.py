import shutil
import subprocess
import sys

from tests.scripts.checkout import REPOSITORY

OLD = {
    "mocoop/a.py": "".join(f"number_{i} = {i}\n" for i in range(3)),
    "mocoop/clip/b.py": "".join(f"letter_{i} = '{i}'\n" for i in range(4)),
    "tests/clip/test_b.py": "".join(f"assert letter_{i}\n" for i in range(4)),
    "mocoop/notes.txt": "1\n" * 100,
}


def test_lines_are_counted_by_folder_and_the_newer_ones_apart(tmp_path):
    def git(*words):
        settings = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        done = subprocess.run(["git", *settings, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for path, text in OLD.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "the first")
    first = git("rev-parse", "HEAD")
    (tmp_path / "mocoop/c.py").write_text("one_more = 1\ntwo_more = 2\n")
    git("mv", "mocoop/clip/b.py", "mocoop/b.py")
    git("add", ".")
    git("commit", "-qm", "two more lines, and a file elsewhere")
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPOSITORY / "scripts/count_lines.py", tmp_path / "scripts")  # which git does not know there

    script = [sys.executable, "scripts/count_lines.py", "--since", first]
    printed = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    table, commits = printed.split("\nOutside tests, of commits")
    rows = {line[:32].strip(): line[32:].split() for line in table.splitlines()}
    assert rows["Python outside tests"] == rows["mocoop"] == ["9", "2", "7"]
    assert rows["tests"] == rows["tests/clip"] == ["4", "0", "4"] and rows["files in mocoop/"] == ["3"]
    (newer,) = commits.splitlines()[1:]
    assert newer.split()[0] == "2" and newer.endswith("two more lines, and a file elsewhere")
