"""bitbert: BERT encoders at 8, 4, 2 and 1 bit, trained, stored and run that way."""

__version__ = "0.1.0"
