"""The one error of this package."""


class StackError(Exception):
    """An operation of the stack failed; the message says why and what to do about it."""
