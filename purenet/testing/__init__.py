"""Tools to test your own code with. purenet is tested with the same tools."""
