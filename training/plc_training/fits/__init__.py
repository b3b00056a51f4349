"""Small models fitted outside recipes: content and the contour of pitch."""
