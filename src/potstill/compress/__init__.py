"""How a model is made smaller: channels taken away. Whoever trains or judges it lives elsewhere."""
