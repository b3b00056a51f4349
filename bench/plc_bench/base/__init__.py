"""What every benchmark uses: clips, workers, progress, results, comparisons."""
