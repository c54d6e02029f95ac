"""Post-training quantization: schemes, calibration data, observers, arithmetic; used by two passes."""
