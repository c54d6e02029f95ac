"""Parts of the pruning passes: what belongs together, what matters least, taking it out, making up for it."""
