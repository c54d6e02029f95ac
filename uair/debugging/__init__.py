"""Finding what is wrong: the change that broke a model, the smallest module that shows it, why a rule did not apply."""
