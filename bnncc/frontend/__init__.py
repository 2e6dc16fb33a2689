"""From the text of a `.bnn` file to the nn graph: parsing, elaboration, formatting, and their errors."""
