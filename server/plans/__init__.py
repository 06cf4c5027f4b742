"""Plans of double-random inspection, and what follows from them: batches, draws, visits, results, publication."""
