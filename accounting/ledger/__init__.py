"""The books: what was used, by whom, when, with which factors; never changed, only superseded."""
