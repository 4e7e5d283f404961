"""From a folder as people have it to a project: what new_project.py runs."""
