"""The report's experiments and questions, run again and written to one page.

Only ``purenet reproduce`` and the benchmarks use this package. The names that the command needs are
in ``__all__`` of their modules.
"""
