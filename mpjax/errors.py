"""The one exception that means "the input is wrong", as opposed to "mpjax is wrong"."""


class InputError(ValueError):
    """A mistake in something the user gave: an option, a file, a folder, a record.

    The message names the option or file, says what was found, and what to do about it. The command
    line prints it after ``mpjax: error:`` and exits with status 2, without a traceback.
    """
