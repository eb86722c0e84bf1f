"""Problems: what is true of each stands together in one declaration."""
