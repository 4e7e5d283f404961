"""What quickstart.py runs: with the standard library alone, since nothing is installed yet."""
