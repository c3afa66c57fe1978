"""The operations of an operator.

The `merganser` command and a web console call these functions. Each takes settings and plain values
and returns plain dataclasses. A failure that an operator can act on is an `AdminError`, or an error
that `errors.explain_error` explains.
"""
