"""The two ways a stage may fail; the command line turns each into one line and an exit code."""


class RoadscribeError(Exception):
    """Base of the errors that are shown to a person as one line, never as a traceback."""

    exit_code = 1


class InputError(RoadscribeError):
    """The input or an option is wrong: exit code 2. Say what is wrong, where, and what to do."""

    exit_code = 2


class WorkError(RoadscribeError):
    """The input was fine, the work failed (a full disk, a model that does not fit): exit code 1."""

    exit_code = 1
