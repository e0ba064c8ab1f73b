"""The report's experiments, run again and set beside its printed figures."""
