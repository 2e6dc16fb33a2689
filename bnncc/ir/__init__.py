"""The three levels of the intermediate representation: ``nn``, ``bit``, ``kernel``."""
