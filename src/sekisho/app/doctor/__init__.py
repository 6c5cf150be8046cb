"""Looks at an installation and says what is wrong with it. Nothing is changed, sent or recorded."""
