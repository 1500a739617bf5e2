"""The LaTeX of tables, compiled where pdflatex is installed."""

import shutil
import subprocess

import pytest

from mocoop.results.render import Cell, Table, to_latex

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\parindent0pt
\begin{document}
%s
\end{document}
"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_tables_compile_with_booktabs(tmp_path):
    cells = [Cell(71.234, 0.5, 1), Cell(-1.5, None, 2, signed=True), Cell(float("nan"))]
    rows = [
        ["a_b & 100 % #1 {x} $y$ ~^\\", *cells],
        None,
        ["[best]† <0.001> Δ – ± of a name that is longer than any line of a page can be, by far", *cells],
    ]
    table = Table("Base_to new & H", ["Data_set", "H", "Δ H", "p (%)"], rows, ["one % note & _more_"])
    (tmp_path / "table.tex").write_text(DOCUMENT % to_latex(table), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "table.pdf").stat().st_size > 1000
