"""How large a store of very many entries is, on GPUs and on a cluster: on paper, from unit costs."""
