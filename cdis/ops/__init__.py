"""Pure functions: arrays in, arrays out; no parameters, no configuration, no hidden randomness."""
