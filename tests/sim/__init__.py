"""Whole clusters in virtual time, one seed each; and the planted bugs that prove the checkers see."""
