"""A page on which one example passes through a trained network, with every number visible."""
