# file: ggq/page_steps.cpp
# test: paged weights and kept values on the host*
s/if (last_op >= 0) s\.after\.push_back(last_op);//
