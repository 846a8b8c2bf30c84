"""The corpora of this package, one module each, named in the plugin's record and imported when they are read."""
