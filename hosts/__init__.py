"""What is on the machines: configuration files and the programs they run, a folder per role."""
