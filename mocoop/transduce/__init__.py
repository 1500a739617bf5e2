"""What is put on top of a finished run: methods that look at its test images together, without labels and training."""
