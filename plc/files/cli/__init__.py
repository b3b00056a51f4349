"""Commands on files, and the options that they share."""
