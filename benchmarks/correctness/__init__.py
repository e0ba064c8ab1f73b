"""Show how sound `purenet.testing` is: on other libraries, and beside other checkers."""
