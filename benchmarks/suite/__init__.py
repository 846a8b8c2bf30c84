"""The asv suite: recall, latency and perplexity of every backend. (asv wants a package.)"""
