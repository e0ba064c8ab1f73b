"""Tools to test code of one's own: the ones that purenet is tested with."""
