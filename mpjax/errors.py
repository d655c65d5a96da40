"""Exceptions with a meaning for the command line."""


class InputError(ValueError):
    """A mistake in something the user gave: an option, a file, a folder, a record.

    The message names the option or file, what was found, and what to do about it. The command
    line prints it after ``mpjax: error:`` and exits with status 2, without a traceback.
    """


class Interrupted(KeyboardInterrupt):
    """A run stopped by a signal, its state saved.

    Attributes:
      signal: number of the signal.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal
