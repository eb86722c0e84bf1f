"""Problems, each of which is described completely by one declaration."""
