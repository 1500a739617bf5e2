"""What a run measured, kept as result.json, and what is made of many runs: tables and figures."""
