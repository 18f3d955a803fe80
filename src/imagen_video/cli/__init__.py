"""The command line: one module per verb, each with `run(argv) -> exit code`; main.py finds them."""
