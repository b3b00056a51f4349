"""Many recordings at once: folders, buckets and clusters; records, labels, a page to choose."""
