"""Commands; no rules of their own. A command's module is loaded when it is called."""
