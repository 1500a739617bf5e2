"""The subcommands of the console command `mocoop`: one module each, with `add_arguments` and `run`."""
