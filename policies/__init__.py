"""Rules that every stack must satisfy. They import nothing of the program that they judge."""
