"""The one exception that people read."""


class StudioError(Exception):
    """Something the person can mend. The message is one sentence: what, where, and what to do.

    Both faces print it as it stands; any other exception is a fault of the studio and goes to a crash log.
    """


class UsageError(StudioError):
    """The command itself was wrong (exit code 2)."""
