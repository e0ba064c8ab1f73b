"""Benchmarks. ``python -m benchmarks`` runs them all and writes tables and a figure."""
