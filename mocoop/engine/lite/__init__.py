"""Our own engine: the part of Dassl's interface that prompt-learning trainers use, on current torch."""
