"""What a user can mend: one text, and an exit code instead of a traceback."""


class TtftError(Exception):
    """What was found and, after `->`, the command or the change that mends it."""

    exit_code = 2
