"""The command line, the only part of purenet that prints."""
