"""What the commands of all rooms share: options, output, errors."""
