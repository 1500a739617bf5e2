"""One trained run in use: loaded, asked for predictions, looked into."""
