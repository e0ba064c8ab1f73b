"""Benchmarks: ``python -m benchmarks`` runs them all and writes a table and a figure."""
