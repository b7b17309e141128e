"""Learners as Avalanche strategies."""

from lamm_cl.avalanche_home import do_without

do_without()
