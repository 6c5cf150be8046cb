"""The built-in model `manual`: answers about Sekisho, quoted from its own documentation. Not a language model."""
