"""What quickstart.py runs, before anything is installed: standard library alone."""
