# file: ggq/layer_order.cpp
# test: layer by layer: the same bits*
s/place\.emplace_back(backward, backward ? -layer : layer, pass);/place.emplace_back(backward, backward ? -layer : layer, -pass);/
