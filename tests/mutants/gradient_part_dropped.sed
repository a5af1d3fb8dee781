# file: ggq/backward.cpp
# test: the sink gets the gradients of a layer*
s/reached_\[part\.param\] = true;/if (reached_[part.param]) return;\n        reached_[part.param] = true;/
