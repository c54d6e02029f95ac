"""INT8 post-training quantization: schemes, calibration data, observers, arithmetic; the pass is quantize-int8."""
