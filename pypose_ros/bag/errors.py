"""The exceptions of this folder."""


class BagError(Exception):
    """A bag, a dataset or an option that cannot be used; the message is one line that says why.

    The command line prints it and exits with code 2.
    """

    def __init__(self, message: str):
        super().__init__(' '.join(message.split()))


class RunError(Exception):
    """Input was fine, but the run failed: a process died, or nothing came out; exit code 1."""
