"""From words and config files to checked settings and all that they name. Nothing is started or written."""
