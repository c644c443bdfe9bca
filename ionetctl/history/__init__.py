"""What past rollouts did: journals, and the catalog made from them."""
