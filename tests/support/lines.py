"""Reading what a command printed."""

import json


def jsonl(text):
    """One value for each line."""
    return [json.loads(line) for line in text.splitlines()]
