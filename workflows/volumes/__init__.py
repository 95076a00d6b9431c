"""Operations on one volume that take it as it lies: a mask of its tissue."""
