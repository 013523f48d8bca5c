"""What an operator runs, by hand or through the program."""
