"""Numbers in, numbers out: nothing here knows what a frame means."""
