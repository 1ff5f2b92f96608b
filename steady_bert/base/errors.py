"""The exception types that end a command with a message, not with a traceback."""


class UserError(ValueError):
    """A mistake in a flag, a file or a folder.

    The message names the thing (file:line or flag), what was found and what to do. Entry scripts print it without a
    traceback and exit 2. It is a ValueError because upstream's functions raise that.
    """


class RunError(RuntimeError):
    """A failure while TensorFlow runs, such as memory that does not suffice.

    Entry scripts print its message without a traceback and exit 1; the cause has the traceback.
    """
