"""The built-in networks: a file each, in the form that yours has, too. Its name is the network's; copy one and change it."""
