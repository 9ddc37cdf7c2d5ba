"""The one error that is the user's to fix."""


class InputError(ValueError):
    """Bad input: one sentence that says what was expected, what came, and what to do.

    The command line prints the sentence and exits with code 2. Bugs of our own are `AssertionError`
    or any other exception, and keep their traceback.
    """
