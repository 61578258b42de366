"""One module for each verb of the command; each is imported only when its verb is called."""
