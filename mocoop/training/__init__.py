"""Training that can be interrupted anywhere: the loop, its files, its folder; and the test that follows it."""
