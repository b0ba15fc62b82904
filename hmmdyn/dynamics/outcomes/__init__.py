"""Phase transitions of losses and accuracies, and which changes of state go with them."""
