from setuptools import find_packages, setup

CARRIED = ["mocoop._shipped.configs", "mocoop._shipped.datasets"]  # by pyproject.toml's package-dir
setup(packages=[*find_packages(include=["mocoop", "mocoop.*"]), *CARRIED])
