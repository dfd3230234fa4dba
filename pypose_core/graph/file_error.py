"""The error that all readers of graph files raise."""


class GraphFileError(ValueError):
    """A file that does not hold what its format asks for; the message names file, line and fault."""
