"""Commands on files, and what commands on files share."""
