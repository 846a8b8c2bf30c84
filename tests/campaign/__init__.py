"""The campaign, which tries to break memstack from outside: ``make campaign``, and a short one among the tests."""
