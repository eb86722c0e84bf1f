"""Joint training of all problems with one optimizer under tf.distribute."""
