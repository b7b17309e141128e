"""Metrics, and the Avalanche plugins that feed them."""

from lamm_cl.avalanche_home import do_without

do_without()
