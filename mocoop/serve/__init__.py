"""A page to try trained runs in the browser: what they answer (`session`), how that looks (`view`), gradio (`page`)."""
