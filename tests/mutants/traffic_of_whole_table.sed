# file: ggq/op.cpp
# test: traffic of a look-up*
/if (call\.op\.bytes)/d
