"""Training that can be broken off anywhere: the loop, its files, its folder; and the test that follows it."""
