"""The one exception type for what a user can mend."""


class UserError(ValueError):
    """A mistake in a flag, a file or a folder.

    The message names the thing (file:line or flag), what was found and what to do. Entry scripts print it without a
    traceback and exit 2. It is a ValueError because upstream's functions raise that.
    """
