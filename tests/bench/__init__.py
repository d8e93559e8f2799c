"Measurements: each module is a program that prints a row of a Markdown table."
