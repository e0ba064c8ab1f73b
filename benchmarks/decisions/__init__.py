"""Design decisions, each measured beside its alternative."""
