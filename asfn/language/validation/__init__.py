"""The rules of `asfn.language.validate`, one story per file."""
