"""What can go wrong, in a few kinds.

Every message says what was given, what is needed and how to mend it. All kinds are `PerpixelError`, so one
`except` catches them; each is also the built-in kind that Python programmers expect.
"""


class PerpixelError(Exception):
    """The base of every error that perpixel raises on purpose."""


class InputError(PerpixelError, ValueError):
    """An argument, an image, a trimap or a hint that cannot be used as given."""


class ConfigError(PerpixelError, ValueError):
    """A configuration with an unknown field, a wrong type or contradictory values."""


class CheckpointError(PerpixelError, RuntimeError):
    """A checkpoint that is absent, unreadable, or does not fit the model."""


class OutputError(PerpixelError, OSError):
    """A result that cannot be written where it was asked for."""


class MissingDependencyError(PerpixelError, ImportError):
    """An optional package that this call needs and that is not installed."""


class PerpixelWarning(UserWarning):
    """Something that perpixel mended by itself and that its user may want to know."""
