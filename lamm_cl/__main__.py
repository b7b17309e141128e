"""`python -m lamm_cl`: the command line."""

from lamm_cl.cli import start

if __name__ == "__main__":
    start()
