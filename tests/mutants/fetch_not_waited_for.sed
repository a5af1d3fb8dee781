# file: ggq/page_steps.cpp
# test: paged weights and kept values on the host*
s/ops\[i\]\.after\.push_back(fetch_step_/(void)(fetch_step_/
