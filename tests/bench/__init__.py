"""The pure parts of the bench: what is counted, summed up, drawn and cut out of bytes."""
