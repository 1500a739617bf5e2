"""Files that an export holds as they are: they use plain clip, and nothing of this library."""
