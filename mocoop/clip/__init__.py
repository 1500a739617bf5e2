"""CLIP's anatomy, nothing of methods: its weights, tokens, prompts and towers."""
