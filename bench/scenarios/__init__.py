"""The rows of the table: each module measures one or a few goals. `NAME` selects it, `EXPECTED_S` says how long it
takes on a quiet machine, `run` gives its rows."""
