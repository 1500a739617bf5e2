"""Class names and templates."""

BAD_NAMES = {
    "newline": "cat\nrm -rf",
    "NUL": "cat\0",
    "bell": "cat\x07",
    "escape code": "\x1b[31mcat",
    "10,000 characters": "x" * 10_000,
    "10,000 words": "cat " * 10_000,
    "turned writing": "gpj\u202eexe",
    "isolate": "\u2066cat",
    "line separator": "a\u2028b",
    "half a surrogate pair": "\udc80",
    "empty": "",
    "only underscores": "___",
    "end of the prompt": "cat <|endoftext|>",
    "end of the prompt, escaped": "&lt;|endoftext|&gt;",
    "more tokens than CLIP reads": "🙂" * 100,
}
FINE_NAMES = {
    "braces": "{}",
    "format spec": "{0.__class__.__mro__[1]!r:>99}",
    "percent": "%n%s%(x)s",
    "html": "<script>alert(1)</script>",
    "html entity": "&lt;b&gt; &amp; &#0;",
    "emoji": "👩‍👩‍👧 🙂",
    "Hebrew and Arabic": "שלום مرحبا",
    "accents": "Fe\u0301e verte",
    "zero width": "a\u200bb\ufeff",
    "quotes": "'\"`$(touch canary)\\",
    "formula": "=1+1",
    "path": "../../etc/passwd",
    "markdown": "| a | b | ![x](http://localhost)",
    "one letter": "x",
}
BAD_TEMPLATES = {
    "no place": "a photo of a cat.",
    "two places": "a {} of a {}.",
    "a named place": "a photo of a {name}.",
    "a format spec": "a photo of a {:>99999999}.",
    "an attribute": "a photo of a {0.__class__}.",
    "open brace": "a photo of a {} {.",
    "doubled braces": "a photo of a {{}}.",
    "newline": "a photo\nof a {}.",
    "NUL": "a photo of a {}\0.",
    "empty": "",
    "only the place": "{}",
    "a million characters": "x" * 10**6 + "{}",
    "end of the prompt": "a photo <|endoftext|> of a {}.",
}


def add_entries(add) -> None:
    for name, text in BAD_NAMES.items():
        add("name", name, text)
    for name, text in FINE_NAMES.items():
        add("name", name, text, harmless=True)
    for name, text in BAD_TEMPLATES.items():
        add("template", name, text)
    add("template", "html", "<b>a {}</b> &lt;x&gt;", harmless=True)
    add("template", "percent", "100 % of a {} %s", harmless=True)
