"""The source paper's evaluation, its competitors and today's classifiers in one command.

python -m bench.paper --out DIR [--quick] [--seed 0] [--splits 100] [--processes 2]

Writes CSV files, PNG figures and report.md; see `bench.paper.__main__` for the other options.
"""
