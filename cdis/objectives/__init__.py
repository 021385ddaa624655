"""Loss terms: arrays in, scalars out, each with the equation it implements."""
