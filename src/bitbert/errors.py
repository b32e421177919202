"""Every error that bitbert raises for something the user can mend.

The command line shows such an error as one line and exits with code 2; anything else is a fault of ours and keeps its
traceback. A message names the thing, what came, what is allowed and what to do.
"""


class BitbertError(Exception):
    """Base of all errors that a user can mend."""


class SpecError(BitbertError):
    """A quantization spec that is malformed, or that cannot do what is asked of it."""


class RecipeError(BitbertError):
    """A recipe with an unknown key, a wrong type or a value out of range."""


class DataError(BitbertError):
    """A data set, column or label that is missing or unusable."""


class ModelError(BitbertError):
    """A float checkpoint that is missing or of an unsupported architecture."""


class CheckpointError(BitbertError):
    """A packed directory that is damaged, incomplete, of an unknown version or cannot be written."""


class InstructionSetError(BitbertError):
    """An instruction set that was asked for by name and that this CPU or build does not have."""


class SearchError(BitbertError):
    """A budget that no assignment of bits meets, or a search that cannot be asked for like this."""
