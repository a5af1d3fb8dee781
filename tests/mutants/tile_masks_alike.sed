# file: models/llama.cpp
# test: tiles: the same loss and gradients*
s/params\.dropout\.first = first_row \* x\.shape()\[1\];//
