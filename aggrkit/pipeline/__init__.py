"""The three phases: preprocess -> aggregate -> postprocess."""
