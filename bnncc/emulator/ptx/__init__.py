"""The PTX front end: text to a typed model, strictly."""
