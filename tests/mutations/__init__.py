"""Files of other people, spoilt at random, through the commands that read them."""
