"""Benchmarks: `python -m benchmarks.NAME`. Each prints a table of ratios and writes JSON beside itself."""
