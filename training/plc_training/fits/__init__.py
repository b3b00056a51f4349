"""Small models that are fitted without a recipe: content, pitch contour."""
