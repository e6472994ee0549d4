"""The choice of a recipe, a learning rate and a number of epochs before a training starts."""
