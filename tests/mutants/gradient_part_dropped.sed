# file: ggq/backward.cpp
# test: the sink gets each part of a gradient*
s/reached_\[param->second\] = true;/if (reached_[param->second]) continue;\n            reached_[param->second] = true;/
