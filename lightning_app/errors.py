"""What is told to the user in one line; every other error is a fault of code and keeps its traceback."""


class UserError(ValueError):
    """Something that the user gave cannot be used: an argument, a file, a folder, a machine.

    The message is one line: the thing, its value, and the cure.
    """
