# file: ggq/page_policy.cpp
# test: paged state comes back to its home*
s/dirty |= page\.uses\[u\]\.writes;//
