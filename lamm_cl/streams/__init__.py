"""Protocols as Avalanche streams."""

from lamm_cl.avalanche_home import do_without

do_without()
