"""What is timed, and against what: benchmarks/README.md. Run from the checkout: `python -m benchmarks.text_encoder`."""
