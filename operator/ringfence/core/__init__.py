"""Core decides: pure, typed, standard library only. Time and randomness come in as arguments."""
