"""PTX model to C++: one C++ statement for each instruction."""
