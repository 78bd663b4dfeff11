"""The rows of the table: each module measures one or a few goals. `NAME` selects it, `EXPECTED_S` is its duration on a
quiet machine in seconds, `run` returns its rows.
"""
