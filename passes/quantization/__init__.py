"""The parts of the quantize-int8 pass."""
