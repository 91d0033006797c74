"""The classes of well-known data sets, as plain data: names, the numbers in their files, and which are things."""
