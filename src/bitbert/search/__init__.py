"""Which row group gets how many bits under a budget: costs, prices, an exact choice, and a spec at the end.

Nothing here runs the engine: what a width costs in time comes in from `bitbert.bench.price`.
"""
